/* framing: see framing.h. */
#include "framing.h"

#include "scan.h"

/* Without regard to ASCII case. `lower` holds letters, digits and "-", and p no
 * controls: then setting bit 5 makes no two different octets equal. */
static inline bool same(const char *p, const char *lower, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((p[i] | 0x20) != lower[i])
            return false;
    return true;
}

static void refuse(struct ts_request *r, enum ts_refusal why)
{
    if (r->refusal == TS_REFUSE_NONE)
        r->refusal = why;
}

/* Content-Length = 1*DIGIT (RFC 9110, 8.6). A list of equal values, which a
 * recipient may accept, is refused. */
static void take_content_length(struct ts_request *r, const char *p,
                                const char *end)
{
    int64_t length = 0;

    if (p == end)
        goto refuse;
    for (; p < end; p++) {
        int digit = *p - '0';
        if (digit < 0 || digit > 9 || length > (INT64_MAX - digit) / 10)
            goto refuse;
        length = length * 10 + digit;
    }
    if (r->content_length >= 0 && r->content_length != length)
        refuse(r, TS_REFUSE_CONTENT_LENGTHS);
    r->content_length = length;
    return;

refuse:
    refuse(r, TS_REFUSE_CONTENT_LENGTH);
}

/* Transfer-Encoding = #( token *( OWS ";" OWS parameter ) ) (RFC 9112, 6.1),
 * several fields being one list. Empty elements and quoted strings, which not
 * everybody reads alike, are refused; so are parameters of chunked (7.1). */
static void take_transfer_encoding(struct ts_request *r, const char *p,
                                   const char *end)
{
    r->coding_seen = true;
    for (;; p++) {
        const char *coding;
        bool chunked;

        while (p < end && ts_is_ows(*p))
            p++;
        coding = p;
        while (p < end && ts_is(TS_OCTET_TOKEN, *p))
            p++;
        if (p == coding || r->coding_chunked)
            goto refuse;
        chunked = p - coding == 7 && same(coding, "chunked", 7);
        while (p < end && ts_is_ows(*p))
            p++;
        if (p < end && *p == ';' && !chunked)
            while (p < end && *p != ',' && *p != '"')
                p++;
        if (p < end && *p != ',')
            goto refuse;
        if (chunked)
            r->coding_chunked = true;
        else
            r->coding_unknown = true;
        if (p == end)
            return;
    }

refuse:
    refuse(r, TS_REFUSE_TRANSFER_ENCODING);
}

static void take_connection(struct ts_request *r, const char *p,
                            const char *end)
{
    if (r->connection != TS_CONN_NONE)
        return;
    if (end - p == 5 && same(p, "close", 5))
        r->connection = TS_CONN_CLOSE;
    else if (end - p == 10 && same(p, "keep-alive", 10))
        r->connection = TS_CONN_KEEP_ALIVE;
    else
        r->connection = TS_CONN_OTHER;
}

static void take_expect(struct ts_request *r, const char *p, const char *end)
{
    if (r->expect_seen)
        return;
    r->expect_seen = true;
    r->expect_continue = end - p == 12 && same(p, "100-continue", 12);
}

void ts_framing_field(struct ts_request *r, const char *buf,
                      const struct ts_field *field)
{
    const char *name = buf + field->name.off;
    const char *value = buf + field->value.off;
    const char *end = value + field->value.len;
    void (*take)(struct ts_request *, const char *, const char *) = NULL;

    switch (field->name.len) {
    case 6:
        if (same(name, "expect", 6))
            take = take_expect;
        break;
    case 7:
        if (same(name, "upgrade", 7))
            r->upgrade = true;
        break;
    case 10:
        if (same(name, "connection", 10))
            take = take_connection;
        break;
    case 14:
        if (same(name, "content-length", 14))
            take = take_content_length;
        break;
    case 17:
        if (same(name, "transfer-encoding", 17))
            take = take_transfer_encoding;
        break;
    default:
        break;
    }
    if (take == NULL)
        return;
    while (end > value && ts_is_ows(end[-1]))
        end--;
    take(r, value, end);
}

void ts_framing_settle(struct ts_request *r)
{
    if (r->coding_seen) {
        if (r->minor == 0)
            refuse(r, TS_REFUSE_TRANSFER_ENCODING_10);
        if (r->content_length >= 0)
            refuse(r, TS_REFUSE_BOTH);
        if (!r->coding_chunked)
            refuse(r, TS_REFUSE_TRANSFER_ENCODING);
        if (r->coding_unknown)
            refuse(r, TS_REFUSE_CODING);
        r->chunked = r->refusal == TS_REFUSE_NONE;
    }
    if (r->refusal != TS_REFUSE_NONE)
        r->content_length = -1;
}

const char *ts_refusal_reason(enum ts_refusal refusal)
{
    switch (refusal) {
    case TS_REFUSE_CONTENT_LENGTH:
        return "Invalid Content-Length";
    case TS_REFUSE_CONTENT_LENGTHS:
        return "Conflicting Content-Length";
    case TS_REFUSE_TRANSFER_ENCODING:
        return "Invalid Transfer-Encoding";
    case TS_REFUSE_TRANSFER_ENCODING_10:
        return "Transfer-Encoding in HTTP/1.0";
    case TS_REFUSE_BOTH:
        return "Both Content-Length and Transfer-Encoding";
    case TS_REFUSE_CODING:
        return "Unsupported Transfer-Encoding";
    case TS_REFUSE_NONE:
        break;
    }
    return "";
}

int ts_refusal_status(enum ts_refusal refusal)
{
    return refusal == TS_REFUSE_CODING ? 501 : 400;
}
