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

/* RFC 9110, 5.6.2. */
static const bool is_tchar[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
    ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true, ['*'] = true, ['+'] = true,
    ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true,
};

bool ts_is_token(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_tchar[(uint8_t)name[i]])
            return false;
    return n > 0;
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
