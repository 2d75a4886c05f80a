/* framing: see framing.h. */
#include "framing.h"

#include "scan.h"
#include "target.h"

#include <string.h>

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
 * recipient may accept, is refused; so are equal numbers that are written
 * differently. */
static void take_content_length(struct ts_request *r, const char *p,
                                const char *end)
{
    uint32_t len = (uint32_t)(end - p);
    int64_t length = 0;

    if (p == end)
        goto refuse;
    for (; p < end; p++) {
        int digit = *p - '0';
        if (digit < 0 || digit > 9 || length > (INT64_MAX - digit) / 10)
            goto refuse;
        length = length * 10 + digit;
    }
    if (r->content_length >= 0 &&
        (r->content_length != length || r->length_len != len))
        refuse(r, TS_REFUSE_CONTENT_LENGTHS);
    r->content_length = length;
    r->length_len = len;
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

/* Takes one element of a list off *list (NULL: there are no more), without the
 * white space around it: [*p, *stop). */
static bool next_element(const char **list, const char *end, const char **p,
                         const char **stop)
{
    const char *comma;
    if (*list == NULL)
        return false;
    comma = memchr(*list, ',', (size_t)(end - *list));
    *p = *list;
    *stop = comma != NULL ? comma : end;
    *list = comma != NULL ? comma + 1 : NULL;
    while (*p < *stop && ts_is_ows(**p))
        (*p)++;
    while (*stop > *p && ts_is_ows((*stop)[-1]))
        (*stop)--;
    return true;
}

/* Connection = #token (RFC 9110, 7.6.1). */
static void take_connection(struct ts_request *r, const char *list,
                            const char *end)
{
    const char *p, *stop;
    if (r->connection == TS_CONN_NONE)
        r->connection = TS_CONN_OTHER;
    while (next_element(&list, end, &p, &stop)) {
        if (stop - p == 5 && same(p, "close", 5))
            r->connection = TS_CONN_CLOSE;
        else if (stop - p == 10 && same(p, "keep-alive", 10) &&
                 r->connection != TS_CONN_CLOSE)
            r->connection = TS_CONN_KEEP_ALIVE;
        else if (stop - p == 7 && same(p, "upgrade", 7))
            r->upgrade_asked = true;
    }
}

/* Expect = #expectation (RFC 9110, 10.1.1), of which 100-continue is the only
 * one that there is. */
static void take_expect(struct ts_request *r, const char *list, const char *end)
{
    const char *p, *stop;
    while (next_element(&list, end, &p, &stop)) {
        if (stop - p == 12 && same(p, "100-continue", 12))
            r->expect_continue = true;
        else if (stop > p)
            r->expect_other = true;
    }
}

static void take_host(struct ts_request *r, const char *p, const char *end)
{
    if (r->host_seen || !ts_is_host(p, end))
        refuse(r, TS_REFUSE_HOST);
    r->host_seen = true;
}

void ts_framing_field(struct ts_request *r, const char *buf,
                      const struct ts_field *field)
{
    const char *name = buf + field->name.off;
    const char *value = buf + field->value.off;
    const char *end = value + field->value.len;
    void (*take)(struct ts_request *, const char *, const char *) = NULL;

    switch (field->name.len) {
    case 4:
        if (same(name, "host", 4))
            take = take_host;
        break;
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
    if (r->minor > 0 && !r->host_seen)
        refuse(r, TS_REFUSE_HOST_MISSING);
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
    r->upgrade = r->upgrade && r->upgrade_asked && r->minor > 0;
    if (r->minor == 0)
        r->expect_continue = false;
    else if (r->expect_other)
        refuse(r, TS_REFUSE_EXPECT);
    if (r->refusal != TS_REFUSE_NONE) {
        r->content_length = -1;
        r->chunked = false;
    }
}

static const struct {
    int status;
    const char *reason;
} refusals[] = {
    [TS_REFUSE_NONE] = {0, ""},
    [TS_REFUSE_LINE] = {400, "Bad request syntax"},
    [TS_REFUSE_LINE_LENGTH] = {414, "Request line too long"},
    [TS_REFUSE_VERSION] = {505, "Invalid HTTP version"},
    [TS_REFUSE_TARGET] = {400, "Invalid request target"},
    [TS_REFUSE_FIELD_NAME] = {400, "Invalid header name"},
    [TS_REFUSE_FIELD_COLON] = {400, "Header line without a colon"},
    [TS_REFUSE_FIELD_VALUE] = {400, "Invalid header value"},
    [TS_REFUSE_FIELD_END] = {400, "Header line not ended by CRLF"},
    [TS_REFUSE_FOLD] = {400, "Folded header line"},
    [TS_REFUSE_FIELD_LENGTH] = {431, "Line too long"},
    [TS_REFUSE_FIELDS] = {431, "Too many headers"},
    [TS_REFUSE_HEAD_LENGTH] = {431, "Headers too long"},
    [TS_REFUSE_CUT_OFF] = {400, "Incomplete request"},
    [TS_REFUSE_HEAD_SLOW] = {408, "Request head took too long"},
    [TS_REFUSE_HOST] = {400, "Invalid Host"},
    [TS_REFUSE_HOST_MISSING] = {400, "Missing Host"},
    [TS_REFUSE_CONTENT_LENGTH] = {400, "Invalid Content-Length"},
    [TS_REFUSE_CONTENT_LENGTHS] = {400, "Differing Content-Length"},
    [TS_REFUSE_TRANSFER_ENCODING] = {400, "Invalid Transfer-Encoding"},
    [TS_REFUSE_TRANSFER_ENCODING_10] = {400, "Transfer-Encoding in HTTP/1.0"},
    [TS_REFUSE_BOTH] = {400, "Both Content-Length and Transfer-Encoding"},
    [TS_REFUSE_CODING] = {501, "Unsupported Transfer-Encoding"},
    [TS_REFUSE_EXPECT] = {417, "Unsupported expectation"},
    [TS_REFUSE_BODY_LENGTH] = {413, "Body too long"},
    [TS_REFUSE_BODY_CHUNKED] = {400, "Invalid chunked body"},
    [TS_REFUSE_BODY_CUT_OFF] = {400, "Incomplete body"},
    [TS_REFUSE_BODY_SLOW] = {408, "Request body took too long"},
};

const char *ts_refusal_reason(enum ts_refusal refusal)
{
    return refusals[refusal].reason;
}

int ts_refusal_status(enum ts_refusal refusal)
{
    return refusals[refusal].status;
}
