/* crew: who takes part in leading and following: the leader's life, its workers
 * joining and leaving, and what the server asks of all of them. See leader.h.
 *
 * What may not live here: who leads (leader.c). */
#include "leader_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- joining and leaving -------------------------------------------------------- */

/* Under mu: a free place, or NULL. */
static struct ts_worker *free_place(struct ts_leader *l)
{
    while (l->first_free < l->used && l->workers[l->first_free].joined)
        l->first_free++;
    unsigned i = l->first_free;
    struct ts_worker *w = &l->workers[i];
    if (i == l->config.max_threads)
        return NULL;
    if (i == l->used) {
        if (ts_wakeup_init(&w->wake))
            return NULL;
        l->used++;
    }
    if (i >= l->high)
        atomic_store(&l->high, i + 1); /* seq_cst: see may_sleep() */
    return w;
}

/* Under mu: w has left. */
static void place_is_free(struct ts_leader *l, const struct ts_worker *w)
{
    unsigned i = (unsigned)(w - l->workers), high = l->high;
    if (i < l->first_free)
        l->first_free = i;
    while (high > 0 && !l->workers[high - 1].joined)
        high--;
    atomic_store(&l->high, high);
}

struct ts_worker *ts_worker_join(struct ts_leader *l)
{
    struct ts_worker *w = NULL;
    int err = ESHUTDOWN;

    if (!l->inert) {
        pthread_mutex_lock(&l->mu);
        if (!l->stopping) {
            err = EAGAIN;
            w = free_place(l);
        }
        if (w) {
            w->joined = w->fresh = true;
            w->gen = w->entered = 0;
            memset(&w->patience, 0, sizeof w->patience);
            w->l = l;
            atomic_fetch_add_explicit(&l->nthreads, 1, memory_order_relaxed);
        } else { /* the spare that was ordered is not going to come */
            atomic_store_explicit(&l->spare_coming, false, memory_order_relaxed);
        }
        pthread_mutex_unlock(&l->mu);
    }
    if (w)
        ts_worker_now(w);
    else
        errno = err;
    return w;
}

void ts_worker_leave(struct ts_leader *l, struct ts_worker *w)
{
    if (l->inert)
        return;
    TS_ASSERT(!(w->slot & SLOT_BUSY));
    ts_lead_release(l, w);
    pthread_mutex_lock(&l->mu);
    ts_has_come(l, w);
    w->joined = false;
    place_is_free(l, w);
    atomic_fetch_sub_explicit(&l->nthreads, 1, memory_order_relaxed);
    pthread_mutex_unlock(&l->mu);
}

/* --- the server's side ---------------------------------------------------------------- */

int ts_leader_new(struct ts_leader **out, const struct ts_leader_config *config)
{
    *out = NULL;
    if (config->max_threads == 0)
        return -EINVAL;

    void *memory;
    int err = posix_memalign(&memory, CACHE_LINE, sizeof(struct ts_leader));
    if (err)
        return -err;
    struct ts_leader *l = memset(memory, 0, sizeof *l);
    err = ENOMEM;
    l->workers_memory = calloc(config->max_threads + 1, sizeof(struct ts_worker));
    if (l->workers_memory == NULL)
        goto fail_workers;
    l->workers = (void *)(((uintptr_t)l->workers_memory + CACHE_LINE - 1)
                          & ~(uintptr_t)(CACHE_LINE - 1));
    l->config = *config;
    if (l->config.tick_ns == 0)
        l->config.tick_ns = TS_TICK_NS;
    l->vacant = true;
    atomic_init(&l->word, UINT64_C(1) << SEQ_BITS); /* generation 0 is "none" */
    /* As good as asleep: the first handler starts it. */
    atomic_init(&l->asleep, config->max_threads > 1 || config->flush);

    if ((err = pthread_mutex_init(&l->mu, NULL)))
        goto fail_mu;
    if ((err = pthread_mutex_init(&l->mon_mu, NULL)))
        goto fail_mon_mu;
    if ((err = ts_cond_init(&l->idle_cond)))
        goto fail_idle_cond;
    if ((err = ts_cond_init(&l->mon_cond)))
        goto fail_mon_cond;
    *out = l;
    return 0;

fail_mon_cond:
    pthread_cond_destroy(&l->idle_cond);
fail_idle_cond:
    pthread_mutex_destroy(&l->mon_mu);
fail_mon_mu:
    pthread_mutex_destroy(&l->mu);
fail_mu:
    free(l->workers_memory);
fail_workers:
    free(l);
    return -err;
}

void ts_leader_free(struct ts_leader *l)
{
    if (!l)
        return;
    if (!l->inert) {
        TS_ASSERT(l->nthreads == 0);
        ts_monitor_end(l);
        for (unsigned i = 0; i < l->used; i++)
            ts_wakeup_destroy(&l->workers[i].wake);
        pthread_cond_destroy(&l->mon_cond);
        pthread_cond_destroy(&l->idle_cond);
        pthread_mutex_destroy(&l->mon_mu);
        pthread_mutex_destroy(&l->mu);
    }
    free(l->workers_memory);
    free(l);
}

void ts_leader_stop(struct ts_leader *l)
{
    if (l->inert)
        return;
    pthread_mutex_lock(&l->mu);
    atomic_store(&l->stopping, true);
    for (struct ts_worker *w = l->idle_top; w; w = w->below)
        ts_wakeup_post(&w->wake);
    pthread_mutex_unlock(&l->mu);
}

unsigned ts_leader_threads(struct ts_leader *l)
{
    return l->inert ? 0 : atomic_load_explicit(&l->nthreads, memory_order_relaxed);
}

unsigned ts_leader_busy(struct ts_leader *l)
{
    unsigned busy = 0;
    unsigned high = l->inert ? 0 : atomic_load(&l->high);
    for (unsigned i = 0; i < high; i++)
        busy += (atomic_load(&l->workers[i].slot) & SLOT_BUSY) != 0;
    return busy;
}

bool ts_leader_wait_idle(struct ts_leader *l, uint64_t timeout_ns)
{
    if (l->inert || ts_leader_busy(l) == 0)
        return true;
    if (timeout_ns == 0)
        return false;
    uint64_t deadline = ts_deadline_in(timeout_ns);
    bool in_time = true;
    pthread_mutex_lock(&l->mu);
    /* seq_cst: a handler that ends sees this and tells us, or we see it ended. */
    atomic_fetch_add(&l->idle_waiters, 1);
    while (in_time && ts_leader_busy(l) != 0)
        in_time = ts_cond_wait_until(&l->idle_cond, &l->mu, deadline);
    bool idle = ts_leader_busy(l) == 0;
    atomic_fetch_sub(&l->idle_waiters, 1);
    pthread_mutex_unlock(&l->mu);
    return idle;
}

void ts_leader_forked(struct ts_leader *l)
{
    l->inert = true;
}
