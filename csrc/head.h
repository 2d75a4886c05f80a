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

#include <errno.h>
#include <string.h>

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

/* Not 0 if one of eight octets is below 0x20 or is DEL. */
static inline uint64_t ts_controls_of(const char *p)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t word, del;
    memcpy(&word, p, sizeof word);
    del = word ^ ones * 0x7f;
    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & ones * 0x80;
}

/* Whether there is a control character among n octets, which could end a line of a
 * head or hide in it. HTAB counts as one. */
static inline bool ts_has_control(const char *p, size_t n)
{
    uint64_t found = 0;
    if (n >= 8) {
        const char *last = p + n - 8;
        for (; p < last; p += 8)
            found |= ts_controls_of(p);
        return (found | ts_controls_of(last)) != 0;
    }
    for (size_t i = 0; i < n; i++)
        found |= (uint8_t)p[i] < 0x20 || p[i] == 0x7f;
    return found != 0;
}

struct ts_head {
    char *data;
    uint32_t len;
    uint32_t cap;
};

/* 0 or -ENOMEM. */
int ts_head_grow(struct ts_head *head, size_t more);

/* Room for `more` octets after len. 0 or -ENOMEM. */
static inline int ts_head_reserve(struct ts_head *head, size_t more)
{
    return TS_LIKELY(head->cap - head->len >= more) ? 0 : ts_head_grow(head, more);
}

/* Appends octets. 0 or -ENOMEM. */
static inline int ts_head_add(struct ts_head *head, const char *data, size_t len)
{
    if (TS_UNLIKELY(ts_head_reserve(head, len) != 0))
        return -ENOMEM;
    if (len > 0) /* data may be NULL until there is something to add */
        memcpy(head->data + head->len, data, len);
    head->len += (uint32_t)len;
    return 0;
}

/* Appends the beginning of a head, up to the value of Date, that value and CRLF.
 * 0 or -ENOMEM. */
static inline int ts_head_start(struct ts_head *head, const char *start,
                                size_t len, const char date[TS_DATE_LEN])
{
    if (TS_UNLIKELY(ts_head_reserve(head, len + TS_DATE_LEN + 2) != 0))
        return -ENOMEM;
    char *at = head->data + head->len;
    memcpy(at, start, len);
    memcpy(at + len, date, TS_DATE_LEN);
    memcpy(at + len + TS_DATE_LEN, "\r\n", 2);
    head->len += (uint32_t)len + TS_DATE_LEN + 2;
    return 0;
}

/* Appends "name: value CRLF". 0 or -ENOMEM. */
static inline int ts_head_field(struct ts_head *head, const char *name,
                                size_t name_len, const char *value,
                                size_t value_len)
{
    if (TS_UNLIKELY(ts_head_reserve(head, name_len + value_len + 4) != 0))
        return -ENOMEM;
    char *at = head->data + head->len;
    memcpy(at, name, name_len);
    at += name_len;
    memcpy(at, ": ", 2);
    memcpy(at + 2, value, value_len);
    at += 2 + value_len;
    memcpy(at, "\r\n", 2);
    head->len = (uint32_t)(at + 2 - head->data);
    return 0;
}

void ts_head_free(struct ts_head *head);

#endif
