/* head: see head.h. */
#include "head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void two(char *out, int n)
{
    out[0] = (char)('0' + n / 10);
    out[1] = (char)('0' + n % 10);
}

void ts_date_format(int64_t second, char text[TS_DATE_LEN + 1])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t day = second / 86400;
    int64_t rest = second % 86400;
    if (rest < 0) {
        rest += 86400;
        day -= 1;
    }
    int weekday = (int)((day % 7 + 7 + 4) % 7); /* the epoch was a Thursday */
    /* Days since 0000-03-01, so that a leap day ends its year; the eras are
     * the 400 years after which the Gregorian calendar repeats. */
    int64_t shifted = day + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t in_era = shifted - era * 146097;
    int64_t year_in_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
    int64_t march_month = (5 * in_year + 2) / 153;
    int date = (int)(in_year - (153 * march_month + 2) / 5 + 1);
    int month = (int)(march_month < 10 ? march_month + 2 : march_month - 10);
    int year = (int)(year_in_era + era * 400 + (month <= 1 ? 1 : 0));

    memcpy(text, days + 3 * weekday, 3);
    memcpy(text + 3, ", ", 2);
    two(text + 5, date);
    text[7] = ' ';
    memcpy(text + 8, months + 3 * month, 3);
    text[11] = ' ';
    two(text + 12, year / 100);
    two(text + 14, year % 100);
    text[16] = ' ';
    two(text + 17, (int)(rest / 3600));
    text[19] = ':';
    two(text + 20, (int)(rest / 60 % 60));
    text[22] = ':';
    two(text + 23, (int)(rest % 60));
    memcpy(text + 25, " GMT", 5);
}

int ts_head_grow(struct ts_head *head, size_t more)
{
    size_t cap = head->cap > 0 ? head->cap : 512;
    while (cap - head->len < more) {
        cap *= 2;
        if (cap > UINT32_MAX)
            return -ENOMEM;
    }
    char *grown = realloc(head->data, cap);
    if (grown == NULL)
        return -ENOMEM;
    head->data = grown;
    head->cap = (uint32_t)cap;
    return 0;
}

void ts_head_free(struct ts_head *head)
{
    free(head->data);
    memset(head, 0, sizeof *head);
}
