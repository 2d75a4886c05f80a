/* The request head: scanned in place, once, resumably.
 *
 * In: a contiguous buffer whose first octet is the request's first, and which
 * may grow and move between calls. Out: spans into it, how the body is framed,
 * and what Connection, Expect and Upgrade say.
 *
 * Only a *plain* head is taken here, one that every parser reads alike:
 *
 *   request-line = token SP 1*VCHAR SP ( "HTTP/1.0" / "HTTP/1.1" ) CRLF
 *   field-line   = token ":" *( SP / HTAB ) *( HTAB / %x20-7E / %x80-FF ) CRLF
 *   head         = request-line *field-line CRLF
 *
 * Everything else is for the standard library's own, lenient parser, and the
 * scanner's answer (TS_SCAN_GENERAL) then comes no earlier than that parser
 * can decide without waiting for another octet, and no later: for this it
 * mirrors http.server's parse_request() and http.client's _read_headers().
 *
 * No allocation, no I/O, no state outside struct ts_request: one thread at a
 * time for each request, any number of requests at once.
 */
#ifndef TS_SCAN_H
#define TS_SCAN_H

#include "framing.h"
#include "scan_simd.h"
#include "ts.h"

/* Fields kept for a plain head. http.client accepts 100 lines, blank one
 * included; a program that raised _MAXHEADERS and gets more fields than this
 * is served by the general parser. */
#define TS_MAX_FIELDS 128

/* http.server's own, a literal there: readline(65537). Line end included. */
#define TS_MAX_REQUEST_LINE 65536

struct ts_field {
    struct ts_span name;
    struct ts_span value; /* leading SP and HTAB off, trailing ones kept (as
                             the email parser leaves it), without CRLF */
};

enum ts_scan {
    TS_SCAN_PARTIAL,  /* call again with more octets */
    TS_SCAN_COMPLETE, /* plain; all results below are valid */
    TS_SCAN_GENERAL,  /* for the standard library's parser, which can decide
                         from what is in the buffer */
};

struct ts_request {
    /* After COMPLETE. After GENERAL only `line`, `line_len` (0: longer than
     * TS_MAX_REQUEST_LINE) and `head_len` (0: the head's end was not seen)
     * mean anything. After PARTIAL nothing does. */
    struct ts_span line; /* without its line end */
    struct ts_span method;
    struct ts_span target;
    uint32_t line_len; /* the request line with its line end */
    uint32_t head_len; /* up to and including the blank line */
    uint32_t n_fields;
    int64_t content_length; /* -1: no Content-Length, or refused */
    enum ts_conn_token connection;
    enum ts_refusal refusal;
    uint8_t minor;        /* of HTTP/1.minor: 0 or 1 */
    bool chunked;         /* the body is in the chunked coding, and only that */
    bool expect_continue; /* the first Expect field is "100-continue" */
    bool upgrade;         /* there is an Upgrade field */

    /* Private: where to go on. */
    uint8_t state;
    bool odd;             /* some line was not plain: GENERAL at the end */
    bool expect_seen;
    bool coding_seen;     /* a Transfer-Encoding field */
    bool coding_chunked;  /* ... and its last coding so far is chunked */
    bool coding_unknown;  /* ... and there is another one before that */
    uint32_t at;          /* octets scanned: none before it is looked at again,
                             but once more in a field or line of interest, and
                             once when it is classified (scan_window.h) */
    uint32_t start;       /* where the line `at` is in starts */
    uint32_t n_lines;     /* header lines ended, blank one included */
#ifdef TS_DEBUG
    uint64_t looked; /* octets looked at while scanning: the tests' proof that
                        a slow client costs linear work */
#endif

    /* Last, so that a reset need not touch it. [0, n_fields) is valid. */
    struct ts_field fields[TS_MAX_FIELDS];
};

struct ts_limits {
    uint32_t max_line;    /* http.client._MAXLINE: octets of a header line, its
                             line end included */
    uint32_t max_headers; /* http.client._MAXHEADERS: header lines, the blank
                             one included */
    const struct ts_simd *simd;
    bool bare_09; /* HTTP/0.9 ends with its request line, as http.server has it
                     from 3.14 on; before, header lines follow it */
};

/* The standard library's figures (65536, 100, false), the fastest instruction
 * set. */
void ts_limits_init(struct ts_limits *limits);

/* Before the first octet of each request. Costs some 100 octets of memset. */
void ts_request_reset(struct ts_request *request);

/* Scans on in buf[0, len), where buf[0] is the request's first octet and
 * whatever was there at the call before is there still. Octets after the head
 * (a body, the next request) make no difference. After COMPLETE or GENERAL the
 * request has to be reset first. A head has to end within UINT32_MAX octets.
 *
 * GENERAL comes at once if the standard library asks for no more than the
 * request line (it refuses it, or bare_09), or a limit is passed; else at the
 * end of the head. */
enum ts_scan ts_scan(struct ts_request *request, const char *buf, size_t len,
                     const struct ts_limits *limits);

/* The same for the header lines alone; buf[0] is the first octet after the
 * request line, and spans and head_len count from there. The caller may set
 * `minor` after the reset (which sets it to 1), for what HTTP/1.0 forbids. */
enum ts_scan ts_scan_fields(struct ts_request *request, const char *buf,
                            size_t len, const struct ts_limits *limits);

/* The same for one request line alone. COMPLETE: it is plain, and `line`,
 * `method`, `target`, `minor` and `line_len` are valid. GENERAL: it has ended
 * and is not plain, or it is longer than TS_MAX_REQUEST_LINE. */
enum ts_scan ts_scan_line(struct ts_request *request, const char *buf,
                          size_t len, const struct ts_limits *limits);

#endif
