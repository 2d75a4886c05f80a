/* cgi: see cgi.h. */
#include "cgi.h"

#include <string.h>

bool ts_cgi_name(char *out, const char *name, size_t n)
{
    bool doubtful = false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (c == '-')
            c = '_';
        else if (c == '_')
            doubtful = true;
        out[i] = c;
    }
    return doubtful;
}

/* RFC 9110, 5.6.2: one bit an octet. */
static bool is_tchar(uint8_t c)
{
    static const uint32_t tchar[4] = {
        0, 0x03ff6cfau /* ! # $ % & ' * + - . 0-9 */, 0xc7fffffeu /* A-Z ^ _ */, 0x57ffffffu /* ` a-z | ~ */};
    return c < 128 && (tchar[c >> 5] >> (c & 31) & 1) != 0;
}

bool ts_is_token(const char *name, size_t n)
{
    bool is = n > 0;
    for (size_t i = 0; i < n; i++)
        is &= is_tchar((uint8_t)name[i]);
    return is;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t ts_percent_decode(char *out, const char *text, size_t n)
{
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '%' && n - i > 2) {
            int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
            if (high >= 0 && low >= 0) {
                out[done++] = (char)(high << 4 | low);
                i += 2;
                continue;
            }
        }
        out[done++] = text[i];
    }
    return done;
}
