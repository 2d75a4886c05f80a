/* buffer: see buffer.h. */
#include "buffer.h"

#include "sock.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ---- incoming ----------------------------------------------------------- */

int ts_in_reserve(struct ts_in *in, uint32_t want)
{
    TS_ASSERT(in->head <= in->pos && in->pos <= in->end && in->end <= in->cap);
    if (in->cap - in->end >= want)
        return 0;
    uint32_t used = in->end - in->head;
    if (in->head > 0 && in->cap - used >= want && in->head >= used / 2) {
        memmove(in->data, in->data + in->head, used);
    } else {
        uint64_t need = (uint64_t)used + want;
        uint64_t cap = in->cap > 0 ? in->cap : TS_IN_FIRST;
        while (cap < need)
            cap *= 2;
        if (cap > UINT32_MAX)
            return -ENOMEM;
        char *grown = malloc((size_t)cap);
        if (grown == NULL)
            return -ENOMEM;
        if (used > 0)
            memcpy(grown, in->data + in->head, used);
        free(in->data);
        in->data = grown;
        in->cap = (uint32_t)cap;
    }
    in->pos -= in->head;
    in->end = used;
    in->head = 0;
    return 0;
}

void ts_in_free(struct ts_in *in)
{
    free(in->data);
    memset(in, 0, sizeof *in);
}

/* ---- outgoing ----------------------------------------------------------- */

void ts_out_init(struct ts_out *out)
{
    memset(out, 0, sizeof *out);
    atomic_flag_clear(&out->lock);
}

static bool try_lock(struct ts_out *out)
{
    return !atomic_flag_test_and_set_explicit(&out->lock, memory_order_acquire);
}

/* Whoever holds the lock copies or makes one non-blocking call, so yielding is
 * enough; a futex would cost the uncontended path more. */
static void lock(struct ts_out *out)
{
    while (TS_UNLIKELY(!try_lock(out)))
        sched_yield();
}

static void unlock(struct ts_out *out)
{
    atomic_store_explicit(&out->unsent, out->end - out->pos, memory_order_relaxed);
    atomic_flag_clear_explicit(&out->lock, memory_order_release);
}

void ts_out_free(struct ts_out *out)
{
    lock(out);
    free(out->data);
    out->data = NULL;
    out->pos = out->end = out->cap = 0;
    out->error = 0;
    out->told = false;
    unlock(out);
}

void ts_out_trim(struct ts_out *out)
{
    lock(out);
    if (out->pos == out->end) {
        free(out->data);
        out->data = NULL;
        out->pos = out->end = out->cap = 0;
    }
    unlock(out);
}

/* Holding the lock: sends the gathered octets, then extra (may be empty), as
 * long as the kernel takes them. *taken counts the extra ones. part: without
 * extra ones, and more follows. */
static int send_locked(struct ts_out *out, int fd, const char *extra,
                       size_t len, size_t *taken, bool part)
{
    size_t done = 0;
    int result = TS_OUT_SENT;
    for (;;) {
        size_t gathered = out->end - out->pos;
        if (gathered == 0 && done == len)
            break;
        ssize_t n;
        if (done == len) /* the usual one; sendmsg() costs the kernel more */
            n = (part ? ts_send_part : ts_send)(fd, out->data + out->pos, gathered);
        else if (gathered == 0)
            n = ts_send(fd, extra + done, len - done);
        else
            n = ts_send2(fd, out->data + out->pos, gathered, extra + done, len - done);
        if (n == -EAGAIN) {
            result = TS_OUT_BLOCKED;
            break;
        }
        if (n < 0) {
            out->error = (int)-n;
            out->pos = out->end = 0;
            result = (int)n;
            break;
        }
        size_t sent = (size_t)n;
        if (sent < gathered) {
            out->pos += (uint32_t)sent;
        } else {
            out->pos = out->end = 0;
            done += sent - gathered;
        }
    }
    *taken = done;
    return result;
}

static int flush_locked(struct ts_out *out, int fd, bool part)
{
    size_t none;
    return out->error != 0 ? -out->error : send_locked(out, fd, "", 0, &none, part);
}

/* Holding the lock: room for len octets behind those that are gathered. */
static int make_room_locked(struct ts_out *out, uint32_t len)
{
    uint32_t unsent = out->end - out->pos;
    if (unsent + len > out->cap) {
        uint32_t cap = out->cap > 0 ? out->cap : TS_OUT_FIRST_CAP;
        while (cap < unsent + len)
            cap *= 2;
        char *grown = malloc(cap);
        if (grown == NULL)
            return -ENOMEM;
        if (unsent > 0)
            memcpy(grown, out->data + out->pos, unsent);
        free(out->data);
        out->data = grown;
        out->cap = cap;
    } else {
        memmove(out->data, out->data + out->pos, unsent);
    }
    out->pos = 0;
    out->end = unsent;
    return 0;
}

static inline int gather_locked(struct ts_out *out, const char *data, uint32_t len)
{
    if (out->cap - out->end < len && make_room_locked(out, len) != 0)
        return -ENOMEM;
    if (len > 0) /* data may be NULL until there is something to keep */
        memcpy(out->data + out->end, data, len);
    out->end += len;
    return 0;
}

int ts_out_write(struct ts_out *out, int fd, const char *data, size_t len,
                 bool through, size_t *taken)
{
    int result;
    *taken = 0;
    lock(out);
    if (TS_UNLIKELY(out->error != 0)) {
        result = -out->error;
    } else {
        bool first = out->end == out->pos;
        /* Without memory to gather in they leave at once: one that was lost would
         * have the peer take the next answer for the rest of this one. */
        if (!through && len < TS_OUT_DIRECT && len + (out->end - out->pos) <= TS_OUT_GATHER &&
            gather_locked(out, data, (uint32_t)len) == 0) {
            *taken = len;
            result = first ? TS_OUT_FIRST : TS_OUT_KEPT;
        } else {
            result = send_locked(out, fd, data, len, taken, false);
        }
    }
    if (TS_UNLIKELY(out->error != 0))
        out->told = true;
    unlock(out);
    return result;
}

int ts_out_add(struct ts_out *out, const char *data, size_t len)
{
    lock(out);
    int result = out->end == out->pos ? TS_OUT_FIRST : TS_OUT_KEPT;
    if (out->error == 0) {
        uint64_t all = (uint64_t)(out->end - out->pos) + len;
        /* A part of a stream that nothing can follow. */
        if (all > UINT32_MAX / 2 || gather_locked(out, data, (uint32_t)len) != 0) {
            out->error = ENOMEM;
            out->pos = out->end = 0;
        }
    }
    if (TS_UNLIKELY(out->error != 0)) {
        out->told = true;
        result = -out->error;
    }
    unlock(out);
    return result;
}

static int flush(struct ts_out *out, int fd, bool part)
{
    lock(out);
    int result = flush_locked(out, fd, part);
    if (TS_UNLIKELY(result < 0))
        out->told = true;
    unlock(out);
    return result;
}

int ts_out_flush(struct ts_out *out, int fd)
{
    return flush(out, fd, false);
}

int ts_out_flush_part(struct ts_out *out, int fd)
{
    return flush(out, fd, true);
}

int ts_out_try_flush(struct ts_out *out, const int *fd)
{
    if (!try_lock(out))
        return TS_OUT_BLOCKED;
    int result = -out->error;
    if (out->end > out->pos)
        result = flush_locked(out, *fd, false);
    else if (result == 0)
        result = TS_OUT_SENT;
    unlock(out);
    return result;
}
