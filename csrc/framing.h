/* framing: the fields that say where a request ends, and what comes after it.
 *
 *   Content-Length, Transfer-Encoding   RFC 9112, 6.1 to 6.3
 *   Connection, Upgrade, Expect         RFC 9110, 7.6.1, 7.8 and 10.1.1
 *
 * In: the plain fields of a head, one by one, as the scanner completes them.
 * Out: what struct ts_request says of the body and of the connection. Whatever
 * two recipients could read differently is refused.
 *
 * No state but the request's; as scan.h. What may not live here: where a field
 * begins and ends (scan.c).
 */
#ifndef TS_FRAMING_H
#define TS_FRAMING_H

#include "ts.h"

struct ts_request; /* scan.h */
struct ts_field;

/* The value of the first Connection field, whole (a list is OTHER), compared
 * without regard to ASCII case and to SP and HTAB around it. */
enum ts_conn_token {
    TS_CONN_NONE, /* there is no such field */
    TS_CONN_CLOSE,
    TS_CONN_KEEP_ALIVE,
    TS_CONN_OTHER,
};

/* Why the framing of a plain head is refused (RFC 9112, 6.1 to 6.3). */
enum ts_refusal {
    TS_REFUSE_NONE,
    TS_REFUSE_CONTENT_LENGTH,       /* not 1*DIGIT, or past 63 bits */
    TS_REFUSE_CONTENT_LENGTHS,      /* several, and they differ */
    TS_REFUSE_TRANSFER_ENCODING,    /* malformed, chunked twice or not last */
    TS_REFUSE_TRANSFER_ENCODING_10, /* in HTTP/1.0 */
    TS_REFUSE_BOTH,                 /* with a Content-Length */
    TS_REFUSE_CODING,               /* something before chunked: 501 */
};

/* A reason phrase for the error page ("Invalid Content-Length"), and the
 * status to send with it: 400, or 501 for TS_REFUSE_CODING. Not for NONE. */
const char *ts_refusal_reason(enum ts_refusal refusal);
int ts_refusal_status(enum ts_refusal refusal);

/* ---- for scan.c ---- */

/* Looks at a field that is complete and plain. */
void ts_framing_field(struct ts_request *request, const char *buf,
                      const struct ts_field *field);

/* When all fields are known: RFC 9112, 6.3. */
void ts_framing_settle(struct ts_request *request);

/* Whether a name of that length can be one of those that matter here: most
 * fields are done with by that. */
static inline bool ts_framing_cares(uint32_t name_len)
{
    return name_len == 6 || name_len == 7 || name_len == 10 ||
           name_len == 14 || name_len == 17;
}

#endif
