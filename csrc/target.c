/* target: see target.h. */
#include "target.h"

#include "scan_simd.h"

#include <string.h>

static bool is_digit(char octet)
{
    return octet >= '0' && octet <= '9';
}

static bool is_hex(char octet)
{
    char lower = (char)(octet | 0x20);
    return is_digit(octet) || (lower >= 'a' && lower <= 'f');
}

static bool is_alpha(char octet)
{
    char lower = (char)(octet | 0x20);
    return lower >= 'a' && lower <= 'z';
}

/* ---- hosts --------------------------------------------------------------- */

/* dec-octet "." dec-octet "." dec-octet "." dec-octet */
static bool is_ipv4(const char *p, const char *end)
{
    for (int part = 0; part < 4; part++) {
        unsigned number = 0;
        const char *start = p;
        while (p < end && is_digit(*p) && p - start < 4)
            number = number * 10 + (unsigned)(*p++ - '0');
        if (p == start || number > 255 || (*start == '0' && p - start > 1))
            return false;
        if (part < 3 && (p == end || *p++ != '.'))
            return false;
    }
    return p == end;
}

/* IPv6address: eight groups, of which the last two may be an IPv4 address, and
 * "::" may stand for one or more, once. */
static bool is_ipv6(const char *p, const char *end)
{
    unsigned groups = 0;
    bool gap = false;

    if (end - p >= 2 && p[0] == ':' && p[1] == ':') {
        gap = true;
        p += 2;
    }
    while (p < end) {
        const char *start = p;
        while (p < end && is_hex(*p) && p - start < 5)
            p++;
        if (p < end && *p == '.') {
            groups += 2;
            return is_ipv4(start, end) && (gap ? groups <= 7 : groups == 8);
        }
        if (p == start || p - start > 4)
            return false;
        groups++;
        if (p == end)
            break;
        if (*p++ != ':' || p == end)
            return false;
        if (*p == ':') {
            if (gap)
                return false;
            gap = true;
            p++;
        }
    }
    return gap ? groups <= 7 : groups == 8;
}

/* "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ) */
static bool is_ip_future(const char *p, const char *end)
{
    const char *start = ++p;
    while (p < end && is_hex(*p))
        p++;
    if (p == start || p == end || *p != '.')
        return false;
    start = ++p;
    while (p < end && (ts_is(TS_OCTET_HOST, *p) || *p == ':'))
        p++;
    return p == end && p > start;
}

/* The end of the uri-host that begins at p, or NULL. */
static const char *host_end(const char *p, const char *end)
{
    const char *start = p;
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));
        if (close == NULL || ++p == close)
            return NULL;
        if ((*p | 0x20) == 'v' ? !is_ip_future(p, close) : !is_ipv6(p, close))
            return NULL;
        return close + 1;
    }
    for (;;) {
        while (p < end && ts_is(TS_OCTET_HOST, *p))
            p++;
        if (p == end || *p == ':')
            return p > start ? p : NULL;
        if (*p != '%' || end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
            return NULL;
        p += 3;
    }
}

/* After the ":" of a port: *DIGIT, 65535 at most. -1: it is none. */
static int port_of(const char *p, const char *end)
{
    int number = 0;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return -1;
        number = number * 10 + (*p - '0');
        if (number > 65535)
            return -1;
    }
    return number;
}

bool ts_is_host(const char *p, const char *end)
{
    p = host_end(p, end);
    return p != NULL && (p == end || (*p == ':' && port_of(p + 1, end) >= 0));
}

/* ---- targets ------------------------------------------------------------- */

static struct ts_span span_of(const char *base, const char *p, const char *end)
{
    return (struct ts_span){(uint32_t)(p - base), (uint32_t)(end - p)};
}

/* scheme "://" authority, ended by "/", "?" or the end. */
static bool is_absolute(const char *target, const char *end,
                        struct ts_span *authority)
{
    const char *p = target, *start;
    if (!is_alpha(*p))
        return false;
    while (p < end && (is_alpha(*p) || is_digit(*p) || *p == '+' || *p == '-' ||
                       *p == '.'))
        p++;
    if (end - p < 3 || memcmp(p, "://", 3) != 0)
        return false;
    start = p += 3;
    while (p < end && *p != '/' && *p != '?')
        p++;
    *authority = span_of(target, start, p);
    return ts_is_host(start, p);
}

enum ts_target ts_target_form(const char *method, size_t method_len,
                              const char *target, size_t target_len,
                              struct ts_span *authority)
{
    const char *end = target + target_len;

    if (TS_UNLIKELY(method_len == 7)) {
        if (memcmp(method, "CONNECT", 7) == 0) {
            const char *colon = host_end(target, end);
            *authority = span_of(target, target, end);
            return colon != NULL && colon < end && *colon == ':' &&
                           port_of(colon + 1, end) > 0
                       ? TS_TARGET_AUTHORITY
                       : TS_TARGET_BAD;
        }
        if (target_len == 1 && *target == '*')
            return memcmp(method, "OPTIONS", 7) == 0 ? TS_TARGET_ASTERISK
                                                     : TS_TARGET_BAD;
    }
    if (TS_LIKELY(*target == '/'))
        return TS_TARGET_ORIGIN;
    if (target_len == 1 && *target == '*')
        return TS_TARGET_BAD;
    if (is_absolute(target, end, authority))
        return TS_TARGET_ABSOLUTE;
    for (const char *p = target; p < end && *p != '/' && *p != '?'; p++)
        if (*p == ':')
            return TS_TARGET_BAD;
    return TS_TARGET_RELATIVE;
}
