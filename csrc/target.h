/* target: the four forms of a request target, and the Host they go with.
 *
 *   origin-form     absolute-path [ "?" query ]        RFC 9112, 3.2.1
 *   absolute-form   scheme "://" authority ...                   3.2.2
 *   authority-form  uri-host ":" port, for CONNECT alone         3.2.3
 *   asterisk-form   "*", for OPTIONS alone                       3.2.4
 *   Host            uri-host [ ":" port ]              RFC 9110, 7.2
 *   uri-host        IP-literal / reg-name              RFC 3986, 3.2.2
 *
 * In: octets. Out: a verdict, and where the authority is. Strict: no user
 * information, no empty host (an http URI has none, RFC 9110, 4.2.1), no port
 * above 65535. A fragment after a path passes: CPython's tests send some.
 *
 * No state; any thread. What may not live here: what a target means.
 */
#ifndef TS_TARGET_H
#define TS_TARGET_H

#include "ts.h"

enum ts_target {
    TS_TARGET_ORIGIN,
    TS_TARGET_ABSOLUTE,
    TS_TARGET_AUTHORITY,
    TS_TARGET_ASTERISK,
    TS_TARGET_RELATIVE, /* a path that lacks its slash; no form of the RFC, but
                           CPython's tests ask for it. No ":" before any "/". */
    TS_TARGET_BAD,
};

/* Which form a target has that comes with this method. target: VCHAR, not empty.
 * *authority (ABSOLUTE, AUTHORITY): the span of uri-host and port in it. */
enum ts_target ts_target_form(const char *method, size_t method_len,
                              const char *target, size_t target_len,
                              struct ts_span *authority);

/* Whether [p, end) is a Host field's value, without white space around it. */
bool ts_is_host(const char *p, const char *end);

#endif
