/* units: head.c; sanitizers: address,undefined */
/* The date against the C library's, and lines that gather in a head. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "head.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(x)                                                            \
    do {                                                                    \
        if (!(x)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

#define DAY INT64_C(86400)
#define FIRST (-INT64_C(62135596800)) /* 0001-01-01 00:00:00 */
#define LAST INT64_C(253402300799)    /* 9999-12-31 23:59:59 */

/* ---- the date ---- */

static void check_date(int64_t second)
{
    char ours[TS_DATE_LEN + 1], days[16], months[16], theirs[64];
    time_t t = (time_t)second;
    struct tm tm;

    CHECK(gmtime_r(&t, &tm) != NULL);
    CHECK(strftime(days, sizeof days, "%a, %d ", &tm) > 0);
    CHECK(strftime(months, sizeof months, "%b ", &tm) > 0);
    /* %Y is not padded to four digits everywhere. */
    snprintf(theirs, sizeof theirs, "%s%s%04d %02d:%02d:%02d GMT", days, months,
             tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    memset(ours, '#', sizeof ours);
    ts_date_format(second, ours);
    if (strcmp(ours, theirs) != 0) {
        fprintf(stderr, "%lld: %s, not %s\n", (long long)second, ours, theirs);
        exit(1);
    }
    CHECK(strlen(ours) == TS_DATE_LEN);
}

static void test_known_dates(void)
{
    char text[TS_DATE_LEN + 1];

    ts_date_format(784111777, text); /* RFC 9110, 5.6.7 */
    CHECK(strcmp(text, "Sun, 06 Nov 1994 08:49:37 GMT") == 0);
    ts_date_format(0, text);
    CHECK(strcmp(text, "Thu, 01 Jan 1970 00:00:00 GMT") == 0);
    ts_date_format(FIRST, text);
    CHECK(strcmp(text, "Mon, 01 Jan 0001 00:00:00 GMT") == 0);
    ts_date_format(LAST, text);
    CHECK(strcmp(text, "Fri, 31 Dec 9999 23:59:59 GMT") == 0);
}

static void test_every_day(void)
{
    if (sizeof(time_t) < 8)
        return;
    /* Its first second, its last, and one that moves through the day. */
    for (int64_t day = FIRST; day <= LAST; day += DAY) {
        check_date(day);
        if (day / DAY % 16 == 0) {
            check_date(day + DAY - 1);
            check_date(day + ((day / DAY * 7919) % DAY + DAY) % DAY);
        }
    }
}

static void test_every_second_of_a_day(void)
{
    for (int64_t s = 951782400; s < 951782400 + DAY; s++) /* 29 Feb 2000 */
        check_date(s);
    for (int64_t s = -DAY - 10; s < 10; s++) /* before the epoch, and over it */
        check_date(s);
}

static void test_date_is_kept(void)
{
    struct ts_date date = {.second = -1};
    const char *text = ts_date_at(&date, 784111777);

    CHECK(strcmp(text, "Sun, 06 Nov 1994 08:49:37 GMT") == 0);
    date.text[0] = '!'; /* the same second: it is not made again */
    CHECK(ts_date_at(&date, 784111777)[0] == '!');
    CHECK(strcmp(ts_date_at(&date, 784111778),
                 "Sun, 06 Nov 1994 08:49:38 GMT") == 0);
}

/* ---- the head ---- */

static void test_lines(void)
{
    struct ts_head head = {0};
    const char *want = "HTTP/1.1 200 OK\r\nServer: x\r\nEmpty: \r\n\r\n";

    CHECK(ts_head_add(&head, "HTTP/1.1 200 OK\r\n", 17) == 0);
    CHECK(ts_head_field(&head, "Server", 6, "x", 1) == 0);
    CHECK(ts_head_field(&head, "Empty", 5, "", 0) == 0);
    CHECK(ts_head_add(&head, "\r\n", 2) == 0);
    CHECK(head.len == strlen(want) && memcmp(head.data, want, head.len) == 0);
    ts_head_free(&head);
    CHECK(head.data == NULL && head.len == 0 && head.cap == 0);
    ts_head_free(&head);
}

static void test_nothing_added(void)
{
    struct ts_head head = {0};

    CHECK(ts_head_add(&head, "", 0) == 0);
    CHECK(ts_head_reserve(&head, 0) == 0);
    CHECK(head.len == 0);
    ts_head_free(&head);
}

static void test_growth(void)
{
    struct ts_head head = {0};
    char *want = malloc(4 << 20), value[1000];
    size_t len = 0;

    CHECK(want != NULL);
    for (unsigned i = 0; i < 6000; i++) {
        size_t n = i * 7919 % sizeof value;

        memset(value, 'a' + (int)(i % 26), sizeof value);
        if (i % 3 == 0) {
            CHECK(ts_head_add(&head, value, n) == 0);
            memcpy(want + len, value, n);
            len += n;
        } else {
            CHECK(ts_head_field(&head, "name", 4, value, n) == 0);
            memcpy(want + len, "name: ", 6);
            memcpy(want + len + 6, value, n);
            memcpy(want + len + 6 + n, "\r\n", 2);
            len += n + 8;
        }
        CHECK(head.len == len && head.cap >= head.len);
        CHECK(head.cap <= 512 || head.cap <= 2 * head.len + 2048);
    }
    CHECK(memcmp(head.data, want, len) == 0);
    head.len = 0; /* the next answer: the room is still there */
    uint32_t cap = head.cap;

    CHECK(ts_head_reserve(&head, cap) == 0 && head.cap == cap);
    ts_head_free(&head);
    free(want);
}

static void test_too_long(void)
{
    struct ts_head head = {0};

    CHECK(ts_head_add(&head, "kept", 4) == 0);
    CHECK(ts_head_reserve(&head, UINT32_MAX) == -ENOMEM);
    CHECK(ts_head_reserve(&head, SIZE_MAX) == -ENOMEM);
    CHECK(head.len == 4 && memcmp(head.data, "kept", 4) == 0);
    ts_head_free(&head);
}

int main(void)
{
    CHECK(setlocale(LC_ALL, "C") != NULL);
    test_known_dates();
    test_every_day();
    test_every_second_of_a_day();
    test_date_is_kept();
    test_lines();
    test_nothing_added();
    test_growth();
    test_too_long();
    puts("head: all passed");
    return 0;
}
