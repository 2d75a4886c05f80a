/* units: target.c scan_simd.c; sanitizers: address,undefined
 *
 * Targets and hosts: every form, every octet in every kind of place, ports, and
 * IPv6 addresses of every shape against another way to read them. Every text is
 * a heap block of its own, so that the sanitizer sees an octet read too many.
 */
#include "target.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *at_work = "?"; /* what a failure names */

#define CHECK(x) \
    do { \
        if (!(x)) { \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, \
                    at_work, #x); \
            exit(1); \
        } \
    } while (0)

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % below;
}

/* ---- hosts --------------------------------------------------------------- */

static bool is_host_octets(const char *text, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    bool is;

    CHECK(copy != NULL);
    memcpy(copy, text, len);
    is = ts_is_host(copy, copy + len);
    free(copy);
    return is;
}

static bool is_host(const char *text)
{
    at_work = text;
    return is_host_octets(text, strlen(text));
}

static void test_names(void)
{
    static const char *const good[] = {
        "a", "A", "0", "example.com", "example.com.", "-", ".", "..", "a_b", "a:",
        "1.2.3.4", "256.256.256.256", "1.2.3", "%00", "%4f%4F", "a%20b", "~!$&'()*+,;=",
        "localhost:8000", "a:0", "a:1", "a:65535", "a:00000000000000065535", "%41:80"};
    static const char *const bad[] = {
        "", ":", ":80", "a b", "a\tb", " a", "a ", "a/", "/", "a?b", "a#b", "a@b", "u:p@a",
        "@", "a\\", "a\"", "<a>", "a^", "a`", "a|b", "{a}", "a[", "a]", "%", "%4", "%4:",
        "%g0", "%0g", "a%", "a%1", "%%41", "a:80:80", "a::", "a::80", "a:+1", "a:-1",
        "a: 80", "a:80 ", "a:8o", "a:0x50", "a:65536", "a:65540", "a:100000",
        "a:4294967376", "a:18446744073709551696", "http://a", "a,b c"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(is_host(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!is_host(bad[i]));
}

static void test_ports(void)
{
    char text[30];

    for (long port = 0; port < 70000; port++) {
        snprintf(text, sizeof text, "%s:%0*ld", port % 3 ? "a" : "[::]",
                 (int)(port % 9), port);
        CHECK(is_host(text) == (port <= 65535));
    }
}

/* Every octet alone, in a name, after "%", in a port, in and after brackets. */
static void test_octets(void)
{
    static const char name[] = "-._~!$&'()*+,;=";
    char text[8];

    at_work = "octets";
    for (int c = 0; c < 256; c++) {
        char octet = (char)c;
        bool digit = c >= '0' && c <= '9';
        bool hex = digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool in_name = digit || letter || (c != 0 && strchr(name, c) != NULL);

        CHECK(is_host_octets(&octet, 1) == in_name);
        memcpy(text, "abc", 3);
        for (size_t at = 0; at < 3; at++) {
            text[at] = octet;
            CHECK(is_host_octets(text, 3) ==
                  (in_name || (c == ':' && at == 2) || (c == '%' && at == 0)));
            text[at] = 'a';
        }
        for (size_t at = 0; at < 3; at++) {
            memcpy(text, "a%4f", 4);
            text[1 + at] = octet;
            CHECK(is_host_octets(text, 4) ==
                  (at == 0 ? c == '%' || in_name : hex));
        }
        memcpy(text, "a:80", 4);
        text[2] = octet;
        CHECK(is_host_octets(text, 4) == digit);
        memcpy(text, "a:80", 4);
        text[3] = octet;
        CHECK(is_host_octets(text, 4) == digit);
        memcpy(text, "[::a]", 5);
        text[3] = octet;
        CHECK(is_host_octets(text, 5) == hex);
        memcpy(text, "[::]x", 5);
        text[4] = octet;
        CHECK(is_host_octets(text, 5) == (c == ':'));
        memcpy(text, "[v1.a]", 6);
        text[4] = octet;
        CHECK(is_host_octets(text, 6) == (in_name || c == ':'));
        memcpy(text, "[v1.a]", 6);
        text[2] = octet;
        CHECK(is_host_octets(text, 6) == hex);
    }
}

static void test_literals(void)
{
    static const char *const good[] = {
        "[::]", "[::1]", "[1::]", "[1:2:3:4:5:6:7:8]", "[1::8]", "[::2:3:4:5:6:7:8]",
        "[1:2:3:4:5:6:7::]", "[1:2:3::5:6:7:8]", "[fFfF:0000:AbCd::]",
        "[::255.255.255.255]", "[::1.2.3.4]:80", "[1:2:3:4:5:6:1.2.3.4]",
        "[1:2:3:4:5::1.2.3.4]", "[::2:3:4:5:6:1.2.3.4]", "[1::0.0.0.0]", "[::]:",
        "[::]:65535", "[v1.a]", "[V0F.:]", "[vabc.-._~!$&'()*+,;=:]:80"};
    static const char *const bad[] = {
        "[", "]", "[]", "[]:80", "[:]", "[:::]", "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]",
        "[1:2:3:4:5:6:7:8::]", "[::1:2:3:4:5:6:7:8]", "[1::2::3]", "[1:::2]", "[1:]",
        "[:1]", "[1:2:3:4:5:6:7:]", "[:2:3:4:5:6:7:8]", "[12345::]", "[::12345]", "[g::]",
        "[::1", "::1]", "::1", "[::1]]", "[[::1]", "[[::1]]", "[::1]a", "[::1]80",
        "[::1]:65536", "[::1]:a", "[::1]:80:", "a[::1]", "[1.2.3.4]", "[::1.2.3]",
        "[::1.2.3.4.5]", "[::1.2.3.256]", "[::1.2.3.04]", "[::01.2.3.4]", "[::1.2.3.]",
        "[::.1.2.3]", "[::1..2.3]", "[::1.2.3.4:5]", "[1:2:3:4:5:6:7:1.2.3.4]",
        "[1:2:3:4:5:1.2.3.4]", "[1:2:3:4:5:6::1.2.3.4]", "[::a.2.3.4]", "[1.2.3.4::]",
        "[::1.2.3.4 ]", "[::1 ]", "[ ::1]", "[fe80::1%eth0]", "[fe80::1%25eth0]",
        "[v]", "[v.]", "[v1]", "[v1.]", "[v.a]", "[vg.a]", "[v1a]", "[v1.a/]", "[v1.%41]",
        "[v1.[]", "[x1.a]", "[a]", "[example.com]", "[::\\1]", "[%3a%3a]"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(is_host(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!is_host(bad[i]));
}

/* What the C library says. It is as strict as RFC 3986 is, but for "::" in the
 * place of no group. */
static bool is_ipv6(const char *text)
{
    struct in6_addr address;
    unsigned groups = 0;

    if (inet_pton(AF_INET6, text, &address) != 1)
        return false;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p != ':' && (p == text || p[-1] == ':'))
            groups++;
        if (*p == '.') {
            groups++; /* what is left is the second half of it */
            break;
        }
    }
    return strstr(text, "::") == NULL ? groups == 8 : groups <= 7;
}

/* Addresses put together of pieces: up to ten groups, a gap, an IPv4 address,
 * each at any place. */
static void test_ipv6_shapes(void)
{
    static const char *const groups[] = {"0", "1", "ab", "CdE", "ffff", "00000", "g",
                                         ""};
    static const char *const ends[] = {"", "1.2.3.4", "255.0.10.99", "256.1.1.1",
                                       "1.2.3", "01.2.3.4", "1.2.3.4.5"};
    unsigned right = 0, wrong = 0;

    for (unsigned i = 0; i < 300000; i++) {
        char text[120] = "", host[140];
        unsigned n = any(10), gap = any(14), more = any(20) ? 99 : any(10);
        const char *end = ends[any(3) ? 0 : any(4) ? 1 + any(2) : any(7)];

        for (unsigned k = 0; k < n; k++) {
            if (k == gap || k == more)
                strcat(text, k == 0 ? "::" : ":");
            strcat(text, groups[any(30) ? any(5) : any(8)]);
            if (k + 1 < n)
                strcat(text, ":");
        }
        if (gap == n || any(25) == 0)
            strcat(text, "::");
        else if (*end && n > 0)
            strcat(text, ":");
        strcat(text, end);
        snprintf(host, sizeof host, "[%s]", text);
        bool is = is_ipv6(text);
        CHECK(is_host(host) == is);
        right += is;
        wrong += !is;
    }
    CHECK(right > 20000 && wrong > 20000);
}

/* Every text of up to eight of these octets. */
static void test_ipv6_texts(void)
{
    static const char octets[] = ":1.";
    char text[12], host[14];

    for (unsigned len = 1; len <= 8; len++) {
        unsigned all = 1;
        for (unsigned k = 0; k < len; k++)
            all *= 3;
        for (unsigned i = 0; i < all; i++) {
            unsigned rest = i;
            for (unsigned k = 0; k < len; k++, rest /= 3)
                text[k] = octets[rest % 3];
            text[len] = '\0';
            snprintf(host, sizeof host, "[%s]", text);
            CHECK(is_host(host) == is_ipv6(text));
        }
    }
}

/* ---- targets ------------------------------------------------------------- */

/* What is to be the authority: NULL for forms that have none. */
static void expect(const char *method, const char *target, enum ts_target form,
                   const char *want)
{
    struct ts_span authority = {UINT32_MAX, UINT32_MAX};
    size_t len = strlen(target), method_len = strlen(method);
    char *copy = malloc(len), *verb = malloc(method_len);

    at_work = target;
    CHECK(copy != NULL && verb != NULL && len > 0);
    memcpy(copy, target, len);
    memcpy(verb, method, method_len);
    CHECK(ts_target_form(verb, method_len, copy, len, &authority) == form);
    if (want != NULL) {
        CHECK(authority.len == strlen(want) && authority.off + authority.len <= len);
        CHECK(memcmp(copy + authority.off, want, authority.len) == 0);
    }
    free(verb);
    free(copy);
}

static void test_origin(void)
{
    static const char *const targets[] = {"/", "//", "//a/b", "/a:b", "/?", "/?a=b&c=%",
                                          "/%zz", "/a@b", "/*", "/http://a:b/", "/\"<>\\^`{|}",
                                          "/#", "/a#b", "/a?b#c#d:"};

    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        expect("GET", targets[i], TS_TARGET_ORIGIN, NULL);
        expect("OPTIONS", targets[i], TS_TARGET_ORIGIN, NULL);
        expect("connect", targets[i], TS_TARGET_ORIGIN, NULL);
        expect("CONNECT", targets[i], TS_TARGET_BAD, NULL);
    }
}

static void test_absolute(void)
{
    static const struct {
        const char *target, *authority;
    } good[] = {
        {"http://a", "a"}, {"http://a/", "a"}, {"http://a?b", "a"}, {"HTTP://A:80/b", "A:80"},
        {"https://a:/b", "a:"}, {"http://a//b", "a"}, {"http://a?b://c/d", "a"},
        {"http://a?u@b", "a"}, {"http://a/u:p@b", "a"}, {"a://b", "b"}, {"a+1-2.3://b", "b"},
        {"ws://[::1]:80/c", "[::1]:80"}, {"x://%41/b", "%41"}, {"http://*/", "*"},
        {"http://a/#", "a"}, {"http://a:80/b#c", "a:80"}, {"http://a?#b@c", "a"},
    };
    static const char *const bad[] = {
        "http://", "http:///", "http://?", "http://:80", "http://:80/", "http://u@a/",
        "http://u:p@a/", "http://@a/", "http://a:b/", "http://a:65536/", "http://a:80:80/",
        "http://[::1", "http://[::1/", "http://::1/", "http://[]/", "http://[::1]a/",
        "http://a%/", "http://a\"/", "http://a\\b/", "http:/a", "http:a", "http:", "1a://b/",
        "+a://b/", "://a", ":", ":a", "a:b", "a_b://c", "a%41://b", "http://a#b", "http://a#",
        "mailto:a@b", "http:://a/",
    };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        expect("GET", good[i].target, TS_TARGET_ABSOLUTE, good[i].authority);
        expect("OPTIONS", good[i].target, TS_TARGET_ABSOLUTE, good[i].authority);
        expect("CONNECT", good[i].target, TS_TARGET_BAD, NULL);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect("GET", bad[i], TS_TARGET_BAD, NULL);
    expect("GET", "http//a:80", TS_TARGET_RELATIVE, NULL);
}

static void test_authority(void)
{
    static const char *const good[] = {"a:1", "a:443", "a:65535", "[::1]:80", "1.2.3.4:80",
                                       "*:80", "%41:080"};
    static const char *const bad[] = {"a", "a:", "a:0", "a:00", "a:65536", ":80", "a:b",
                                      "a:80/", "a:80?", "/", "*", "http://a:80", "u@a:80", "#",
                                      "[::1]", "[::1]:", "[::1:80", "::1:80", "a:80:80", "a b:80",
                                      "a:80#", "-", "[v1.a]"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        expect("CONNECT", good[i], TS_TARGET_AUTHORITY, good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect("CONNECT", bad[i], TS_TARGET_BAD, NULL);
    /* Another method's target of that form is a scheme and more, or nothing. */
    expect("GET", "a:80", TS_TARGET_BAD, NULL);
    expect("connect", "a:80", TS_TARGET_BAD, NULL);
    expect("CONNECTS", "a:80", TS_TARGET_BAD, NULL);
    expect("CONNEC", "a:80", TS_TARGET_BAD, NULL);
}

static void test_asterisk(void)
{
    static const char *const others[] = {"GET", "options", "OPTION", "OPTIONSS", "OPTIONs",
                                         "CONNECT", "A"};

    expect("OPTIONS", "*", TS_TARGET_ASTERISK, NULL);
    expect("OPTIONS", "*#", TS_TARGET_RELATIVE, NULL);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect(others[i], "*", TS_TARGET_BAD, NULL);
}

static void test_relative(void)
{
    static const char *const targets[] = {"a", "a/b", "a/b:c", "?", "?a:b", "a?b:c", "a?b://c",
                                          "**", "*/", ".", "..", "a@b", "%", "[", "[/:", "#", "a#",
                                          "#a", "a/#:"};

    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        expect("GET", targets[i], TS_TARGET_RELATIVE, NULL);
        expect("OPTIONS", targets[i], TS_TARGET_RELATIVE, NULL);
    }
    expect("GET", "a:", TS_TARGET_BAD, NULL);
    expect("GET", "[::1]", TS_TARGET_BAD, NULL);
    expect("GET", "#:", TS_TARGET_BAD, NULL);
}

int main(void)
{
    test_names();
    test_ports();
    test_octets();
    test_literals();
    test_ipv6_shapes();
    test_ipv6_texts();
    test_origin();
    test_absolute();
    test_authority();
    test_asterisk();
    test_relative();
    puts("target: all passed");
    return 0;
}
