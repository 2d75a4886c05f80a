/* framing: the fields that say where a request ends, whom it is for, and what
 * comes after it; and every reason why a request is refused.
 *
 *   Content-Length, Transfer-Encoding   RFC 9112, 6.1 to 6.3
 *   Host                                RFC 9112, 3.2
 *   Connection, Upgrade, Expect         RFC 9110, 7.6.1, 7.8 and 10.1.1
 *
 * In: the fields of a head, one by one, as the scanner completes them. Out: what
 * struct ts_request says of the body and of the connection. Whatever two
 * recipients could read differently is refused.
 *
 * No state but the request's; as scan.h. What may not live here: where a field
 * begins and ends (scan.c).
 */
#ifndef TS_FRAMING_H
#define TS_FRAMING_H

#include "ts.h"

struct ts_request; /* scan.h */
struct ts_field;

/* What the Connection fields say, all of them one list of tokens, compared
 * without regard to ASCII case. `close` wins over `keep-alive`. */
enum ts_conn_token {
    TS_CONN_NONE, /* there is no such field */
    TS_CONN_CLOSE,
    TS_CONN_KEEP_ALIVE,
    TS_CONN_OTHER,
};

/* Why a request is refused. 400 where nothing else is said. */
enum ts_refusal {
    TS_REFUSE_NONE,
    /* the request line */
    TS_REFUSE_LINE,        /* it is not method SP target SP version */
    TS_REFUSE_LINE_LENGTH, /* 414 */
    TS_REFUSE_VERSION,     /* of a major version that is not 1: 505 */
    TS_REFUSE_TARGET,
    /* field lines */
    TS_REFUSE_FIELD_NAME,   /* empty, no token, or white space before ":" */
    TS_REFUSE_FIELD_COLON,  /* none */
    TS_REFUSE_FIELD_VALUE,  /* a control character, a CR among them */
    TS_REFUSE_FIELD_END,    /* LF without CR */
    TS_REFUSE_FOLD,         /* a line that begins with white space */
    TS_REFUSE_FIELD_LENGTH, /* 431 */
    TS_REFUSE_FIELDS,       /* too many: 431 */
    TS_REFUSE_HEAD_LENGTH,  /* all field lines together: 431 */
    TS_REFUSE_CUT_OFF,      /* the stream has ended in the head */
    TS_REFUSE_HEAD_SLOW,    /* 408 */
    /* fields */
    TS_REFUSE_HOST,                 /* malformed, or repeated */
    TS_REFUSE_HOST_MISSING,         /* in HTTP/1.1 */
    TS_REFUSE_CONTENT_LENGTH,       /* not 1*DIGIT, or past 63 bits */
    TS_REFUSE_CONTENT_LENGTHS,      /* several, and they differ */
    TS_REFUSE_TRANSFER_ENCODING,    /* malformed, chunked twice or not last */
    TS_REFUSE_TRANSFER_ENCODING_10, /* in HTTP/1.0 */
    TS_REFUSE_BOTH,                 /* with a Content-Length */
    TS_REFUSE_CODING,               /* something before chunked: 501 */
    TS_REFUSE_EXPECT,               /* not 100-continue: 417 */
    /* the body */
    TS_REFUSE_BODY_LENGTH,  /* 413 */
    TS_REFUSE_BODY_CHUNKED, /* malformed */
    TS_REFUSE_BODY_CUT_OFF,
    TS_REFUSE_BODY_SLOW, /* 408 */
};

/* A reason phrase for the error page ("Invalid Content-Length"), and the
 * status to send with it. Not for NONE. */
const char *ts_refusal_reason(enum ts_refusal refusal);
int ts_refusal_status(enum ts_refusal refusal);

/* ---- for scan.c ---- */

/* Looks at a field that is complete. */
void ts_framing_field(struct ts_request *request, const char *buf,
                      const struct ts_field *field);

/* When all fields are known: RFC 9112, 3.2 and 6.3. */
void ts_framing_settle(struct ts_request *request);

/* Whether a name of that length can be one of those that matter here: most
 * fields are done with by that. */
static inline bool ts_framing_cares(uint32_t name_len)
{
    return name_len <= 17 &&
           (1u << name_len & (1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 14 |
                              1u << 17)) != 0;
}

#endif
