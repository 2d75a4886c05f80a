/* units: cgi.c; sanitizers: address,undefined
 *
 * Names of variables, percent-decoding and tokens: every octet, every place of a
 * malformed "%", and texts that are heap blocks of their own, so that the sanitizer
 * sees an octet read or written too many.
 */
#include "cgi.h"

#include <string.h>

#include "check.h"

static char *block(const char *text, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);
    CHECK(copy != NULL);
    memcpy(copy, text, n);
    return copy;
}

static void name_is(const char *name, const char *expected, bool doubtful)
{
    size_t n = strlen(name);
    char *in = block(name, n), *out = block(name, n);
    CHECK(ts_cgi_name(out, in, n) == doubtful);
    CHECK(memcmp(out, expected, n) == 0);
    free(in);
    free(out);
}

static void test_names(void)
{
    name_is("Host", "HOST", false);
    name_is("x-forwarded-for", "X_FORWARDED_FOR", false);
    name_is("X_Forwarded-For", "X_FORWARDED_FOR", true);
    name_is("_", "_", true);
    name_is("a.b|0\xe4", "A.B|0\xe4", false);
    name_is("", "", false);
}

static void decoded_is(const char *text, size_t n, const char *expected, size_t m)
{
    char *in = block(text, n), *out = block(text, n);
    CHECK(ts_percent_decode(out, in, n) == m);
    CHECK(memcmp(out, expected, m) == 0);
    free(in);
    free(out);
}

static void test_percent(void)
{
    static const char digits[] = "0123456789abcdef", capitals[] = "0123456789ABCDEF";
    decoded_is("", 0, "", 0);
    decoded_is("/a%20b%2Fc", 10, "/a b/c", 6);
    decoded_is("%", 1, "%", 1);
    decoded_is("%4", 2, "%4", 2);
    decoded_is("a%4", 3, "a%4", 3);
    decoded_is("%%41", 4, "%A", 2);
    decoded_is("%4%41", 5, "%4A", 3);
    decoded_is("%zz%1g%g1", 9, "%zz%1g%g1", 9);
    decoded_is("%00", 3, "\0", 1);
    decoded_is("%2541", 5, "%41", 3); /* once, not twice */
    for (int octet = 0; octet < 256; octet++) {
        char low[3] = {'%', digits[octet >> 4], digits[octet & 15]};
        char high[3] = {'%', capitals[octet >> 4], capitals[octet & 15]};
        char one = (char)octet;
        decoded_is(low, 3, &one, 1);
        decoded_is(high, 3, &one, 1);
        char half[3] = {'%', one, '0'};
        bool is_hex = one != '\0' && strchr("0123456789abcdefABCDEF", one) != NULL;
        char *in = block(half, 3), *out = block(half, 3);
        CHECK(ts_percent_decode(out, in, 3) == (is_hex ? 1u : 3u));
        free(in);
        free(out);
    }
}

static void test_tokens(void)
{
    static const char tchars[] = "!#$%&'*+-.^_`|~0123456789"
                                 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    CHECK(!ts_is_token("", 0));
    CHECK(ts_is_token(tchars, strlen(tchars)));
    for (int octet = 0; octet < 256; octet++) {
        char text[3] = {'a', (char)octet, 'b'};
        bool expected = octet != 0 && strchr(tchars, octet) != NULL;
        CHECK(ts_is_token(text + 1, 1) == expected);
        CHECK(ts_is_token(text, 3) == expected);
    }
}

static void test_hash(void)
{
    /* Reads no octet too many, whatever the length, and tells common names apart. */
    static const char *names[] = {"a", "ab", "abc", "Host", "Accept", "Accept-Encoding", "Accept-Language",
                                  "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User"};
    enum { N = sizeof names / sizeof *names };
    uint32_t seen[N];
    for (size_t i = 0; i < N; i++) {
        char *in = block(names[i], strlen(names[i]));
        seen[i] = ts_name_hash(in, strlen(names[i]));
        free(in);
        for (size_t j = 0; j < i; j++)
            CHECK(seen[i] != seen[j]);
    }
}

int main(void)
{
    test_names();
    test_percent();
    test_tokens();
    test_hash();
    puts("cgi: ok");
    return 0;
}
