/* head: what a response head is put together with.
 *
 * The lines gather in a struct ts_head until the head is complete. The date
 * (RFC 9110, 6.6.1: IMF-fixdate) is formatted once a second and cached.
 *
 * Threads: each struct has one owner at a time, the thread of the handler.
 *
 * What may not live here: which lines there are. That is the handler's choice.
 */
#ifndef TS_HEAD_H
#define TS_HEAD_H

#include "ts.h"

#define TS_DATE_LEN 29

struct ts_date {
    int64_t second; /* -1: nothing cached */
    char text[TS_DATE_LEN + 1];
};

/* "Sun, 06 Nov 1994 08:49:37 GMT" of a time in seconds since the epoch, years
 * 1 to 9999, without locale. */
void ts_date_format(int64_t second, char text[TS_DATE_LEN + 1]);

static inline const char *ts_date_at(struct ts_date *date, int64_t second)
{
    if (TS_UNLIKELY(date->second != second)) {
        ts_date_format(second, date->text);
        date->second = second;
    }
    return date->text;
}

struct ts_head {
    char *data;
    uint32_t len;
    uint32_t cap;
};

/* Room for `more` octets after len. 0 or -ENOMEM. */
int ts_head_reserve(struct ts_head *head, size_t more);
/* Appends octets. 0 or -ENOMEM. */
int ts_head_add(struct ts_head *head, const char *data, size_t len);
/* Appends "name: value CRLF". 0 or -ENOMEM. */
int ts_head_field(struct ts_head *head, const char *name, size_t name_len,
                  const char *value, size_t value_len);
void ts_head_free(struct ts_head *head);

#endif
