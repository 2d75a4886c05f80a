/* The request head: scanned in place, once, resumably.
 *
 * In: a contiguous buffer whose first octet is the request's first, and which
 * may grow and move between calls. Out: spans into it, how the body is framed,
 * what Connection, Expect and Upgrade say; or why it is refused. One reading
 * (RFC 9112, 2 to 5):
 *
 *   request-line = token SP target SP "HTTP/1." DIGIT ( CRLF / LF )
 *   field-line   = token ":" *( SP / HTAB ) *( HTAB / %x20-7E / %x80-FF ) CRLF
 *   head         = request-line *field-line CRLF
 *
 * What is not so is refused at the octet that shows it; a request line when it
 * has ended, for its error is told with the line. LF alone ends a request line
 * (2.2 allows it, and CPython's tests ask for it), and nothing else.
 *
 * Two things are right and not for us: the request line of HTTP/0.9, and more
 * fields than there is room for. Then the answer is TS_SCAN_GENERAL: the
 * standard library's parser may have it, every line having been looked at.
 *
 * No allocation, no I/O, no state outside struct ts_request: one thread at a
 * time for each request, any number of requests at once.
 */
#ifndef TS_SCAN_H
#define TS_SCAN_H

#include "framing.h"
#include "scan_simd.h"
#include "target.h"
#include "ts.h"

/* Fields kept for a plain head. http.client accepts 100 lines, blank one
 * included; a program that raised _MAXHEADERS and gets more fields than this
 * is served by the general parser. */
#define TS_MAX_FIELDS 128

/* http.server's own, a literal there: readline(65537). Line end included. */
#define TS_MAX_REQUEST_LINE 65536

struct ts_field {
    struct ts_span name;
    struct ts_span value; /* without the SP and HTAB around it */
};

enum ts_scan {
    TS_SCAN_PARTIAL,  /* call again with more octets */
    TS_SCAN_COMPLETE, /* all results below are valid; the fields themselves may
                         be a reason to refuse it (refusal) */
    TS_SCAN_GENERAL,  /* for the standard library's parser, which can decide
                         from what is in the buffer */
    TS_SCAN_REFUSED,  /* malformed, or over a limit: refusal */
};

struct ts_request {
    /* After COMPLETE. After GENERAL and REFUSED `line` and `line_len` (0: it has
     * not ended), and if that is so and the line was right, what is in it. After
     * PARTIAL nothing means anything. */
    struct ts_span line; /* without its line end */
    struct ts_span method;
    struct ts_span target;
    struct ts_span authority; /* of an absolute-form or authority-form target */
    uint32_t line_len; /* the request line with its line end */
    uint32_t head_len; /* up to and including the blank line */
    uint32_t n_fields;
    int64_t content_length; /* -1: no Content-Length, or refused */
    enum ts_conn_token connection;
    enum ts_refusal refusal;
    enum ts_target form;
    uint8_t minor;        /* of HTTP/1.minor: 0 to 9 */
    bool chunked;         /* the body is in the chunked coding, and only that */
    bool expect_continue; /* a 100-continue is waited for */
    bool upgrade;         /* another protocol is asked for (RFC 9110, 7.8) */

    /* Private: where to go on. */
    uint8_t state;
    bool general;         /* GENERAL at the end */
    bool host_seen;
    bool expect_other;    /* an expectation that is not 100-continue */
    bool upgrade_asked;   /* "upgrade" among the connection options */
    bool coding_seen;     /* a Transfer-Encoding field */
    bool coding_chunked;  /* ... and its last coding so far is chunked */
    bool coding_unknown;  /* ... and there is another one before that */
    uint32_t at;          /* octets scanned: none before it is looked at again,
                             but once more in a field or line of interest, and
                             once when it is classified (scan_window.h) */
    uint32_t start;       /* where the line `at` is in starts */
    uint32_t n_lines;     /* header lines ended, blank one included */
    uint32_t length_len;  /* digits of the Content-Length */
#ifdef TS_DEBUG
    uint64_t looked; /* octets looked at while scanning: the tests' proof that
                        a slow client costs linear work */
#endif

    /* Last, so that a reset need not touch it. [0, n_fields) is valid; the last
     * one is room for those that are not kept. */
    struct ts_field fields[TS_MAX_FIELDS + 1];
};

struct ts_limits {
    uint32_t max_request_line; /* octets with the line end, up to
                                  TS_MAX_REQUEST_LINE */
    uint32_t max_line;    /* http.client._MAXLINE: octets of a header line, its
                             line end included */
    uint32_t max_headers; /* http.client._MAXHEADERS: header lines, the blank
                             one included */
    uint32_t max_head;    /* octets of all header lines, the blank one included */
    const struct ts_simd *simd;
    bool bare_09; /* HTTP/0.9 ends with its request line, as http.server has it
                     from 3.14 on; before, header lines follow it */
};

/* The standard library's figures (65536, 65536, 100, false), 64 KiB for all
 * header lines, the fastest instruction set. */
void ts_limits_init(struct ts_limits *limits);

/* Before the first octet of each request. Costs some 100 octets of memset. */
void ts_request_reset(struct ts_request *request);

/* Scans on in buf[0, len), where buf[0] is the request's first octet and
 * whatever was there at the call before is there still. Octets after the head
 * (a body, the next request) make no difference. After another result than
 * PARTIAL the request has to be reset first. A head has to end within UINT32_MAX
 * octets. The same octets get the same result in however many calls. */
enum ts_scan ts_scan(struct ts_request *request, const char *buf, size_t len,
                     const struct ts_limits *limits);

/* The same for the header lines alone; buf[0] is the first octet after the
 * request line, and spans and head_len count from there. The caller may set
 * `minor` and `form` after the reset (which sets them to 1 and ORIGIN). */
enum ts_scan ts_scan_fields(struct ts_request *request, const char *buf,
                            size_t len, const struct ts_limits *limits);

/* The same for one request line alone. COMPLETE: `line`, `method`, `target`,
 * `authority`, `form`, `minor` and `line_len` are valid. GENERAL: it is one of
 * HTTP/0.9. */
enum ts_scan ts_scan_line(struct ts_request *request, const char *buf,
                          size_t len, const struct ts_limits *limits);

#endif
