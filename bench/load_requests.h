/* What load sends: heads of requests, and what comes after them. */
#ifndef LOAD_REQUESTS_H
#define LOAD_REQUESTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "load_options.h"

struct requests {
    size_t head_length; /* 0 for lines */
    size_t length;      /* with the body, the line or the datagram */
    char heads[2][256]; /* [slow], of the same length */
    char line[LINE];    /* the one in flight, or what an upload is made of */
};

static void make_requests(struct requests *r, const struct load *load)
{
    int n = 0;

    memset(r->line, 'x', sizeof r->line);
    for (long i = 1; load->lines && i <= load->together; i++)
        r->line[load->size / load->together * i - 1] = '\n';
    for (int slow = 0; slow < 2 && !load->lines; slow++) {
        const char *path = load->mode != MIXED ? load->path : slow ? "slow" : "fast";
        char fields[128] = "";

        if (load->mode == UPLOAD)
            snprintf(fields, sizeof fields,
                     "Content-Type: application/octet-stream\r\n"
                     "Content-Length: %ld\r\n", load->size);
        n = snprintf(r->heads[slow], sizeof r->heads[slow],
                     "%s /%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n",
                     load->mode == UPLOAD ? "POST" : "GET", path, load->port,
                     fields);
    }
    r->head_length = r->length = (size_t)n;
    if (load->lines || load->mode == UPLOAD)
        r->length += (size_t)load->size;
}

/* Makes the line that of a request: its serial, so that no other answer is
 * taken for its own, before the filling. */
static void make_line(struct requests *r, uint32_t serial)
{
    for (size_t i = 0; i < 8 && i + 1 < r->length; i++)
        r->line[i] = "0123456789abcdef"[serial >> 4 * i & 15];
}

#endif
