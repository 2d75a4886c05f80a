/* The monitor: a thread of our own that looks, every tick, whether the leader is
 * still inside the same handler (then it takes the lead away) and sends what the
 * handlers have written (leader_private.h has who may change what). It never
 * takes the GIL, and without handlers it sleeps. Where all handlers are fast it
 * looks more rarely: on one core each look costs the handler that it interrupts
 * two switches and a part of the caches.
 *
 * What may not live here: what a handler or its connection is. */
#include "leader_private.h"

#include <signal.h>

/* The monitor goes to sleep after this many ticks without news (10 ms): a server
 * under load does not pay a wake-up a request, an idle one does not tick. */
#define QUIET_TICKS 20
/* After so many ticks (20 ms) in which it had nothing to do, while handlers came and
 * went, its ticks are twice as long, and then four times: what blocks unforeseen is
 * found after 2 to 4 ms. The first thing to do, or a sleep, makes them short again. */
#define CALM_TICKS 40
#define CALM_SHIFT_MAX 2
/* Longest wait between two flushes into a full socket, as a shift of the tick. */
#define UNSENT_SHIFT_MAX 6

enum news { NOTHING, UNSENT, NEWS, DEED };

/* NEWS: somebody came or went. DEED: there was something to do.
 * One worker at one tick; flushes if it was inside this very handler at the last
 * tick, and if there may be something to flush. */
static enum news look_at_worker(struct ts_leader *l, struct ts_worker *w)
{
    uint64_t slot = atomic_load_explicit(&w->slot, memory_order_acquire);
    if (slot != w->seen) {
        w->seen = slot;
        w->unsent = false;
        return NEWS;
    }
    if (!(slot & SLOT_BUSY) || !l->config.flush)
        return NOTHING;
    bool fresh = !atomic_load_explicit(&w->visited, memory_order_relaxed)
                 || atomic_load_explicit(&w->dirty, memory_order_relaxed);
    if (!fresh && !w->unsent)
        return NOTHING;
    if (!atomic_compare_exchange_strong_explicit(&w->slot, &slot, slot | SLOT_LOCKED,
                                                 memory_order_acquire, memory_order_relaxed))
        return NEWS; /* it has just ended */
    /* Both before the flush: what a handler adds after it finds visited set and
     * sets dirty again (flush's own lock orders the two). */
    atomic_store_explicit(&w->visited, true, memory_order_relaxed);
    atomic_store_explicit(&w->dirty, false, memory_order_relaxed);
    w->unsent = l->config.flush(w->conn, l->config.ctx);
    atomic_store_explicit(&w->slot, slot, memory_order_release);
    return fresh ? DEED : w->unsent ? UNSENT : NOTHING;
}

static enum news look(struct ts_leader *l)
{
    enum news news = NOTHING;
    /* The lead first: a flush takes its time. */
    uint64_t word = atomic_load_explicit(&l->word, memory_order_acquire);
    if (word == l->seen_word && (word & WORD_BUSY) && l->config.max_threads > 1
        && atomic_compare_exchange_strong_explicit(&l->word, &word, word_next_gen(word),
                                                   memory_order_acq_rel, memory_order_relaxed)) {
        ts_pass_on(l);
        news = DEED;
    }
    l->seen_word = word;

    unsigned high = atomic_load(&l->high);
    for (unsigned i = 0; i < high; i++) {
        enum news n = look_at_worker(l, &l->workers[i]);
        if (n > news)
            news = n;
    }
    return news;
}

/* Notes where everybody is without acting on it. True if nothing has moved since
 * the last look. Called with `asleep` set: either a handler that begins now sees
 * that and wakes us, or we see its slot here (each side stores, then loads the
 * other's, all of it seq_cst). The same for `dirty`. A leader in a handler keeps
 * us awake until its lead is taken. */
static bool may_sleep(struct ts_leader *l)
{
    bool quiet = true;
    unsigned high = atomic_load(&l->high);
    for (unsigned i = 0; i < high; i++) {
        struct ts_worker *w = &l->workers[i];
        uint64_t slot = atomic_load(&w->slot);
        if (slot != w->seen) {
            w->seen = slot;
            w->unsent = false;
            quiet = false;
        } else if ((slot & SLOT_BUSY) && atomic_load(&w->dirty)) {
            quiet = false;
        }
    }
    l->seen_word = atomic_load(&l->word);
    return quiet && !((l->seen_word & WORD_BUSY) && l->config.max_threads > 1);
}

/* Under mon_mu. True if somebody woke us, false if ns have passed. */
static bool sleep_until_woken(struct ts_leader *l, uint64_t ns)
{
    atomic_store(&l->asleep, true);
    bool woken = !may_sleep(l);
    if (!woken) {
        uint64_t deadline = ts_deadline_in(ns);
        while (atomic_load(&l->asleep) && !l->mon_quit
               && ts_cond_wait_until(&l->mon_cond, &l->mon_mu, deadline)) {
        }
        woken = !atomic_load(&l->asleep);
        if (woken)
            may_sleep(l); /* only to note: what is seen now is looked at a tick later */
    }
    atomic_store(&l->asleep, false);
    return woken;
}

static void *monitor_main(void *arg)
{
    struct ts_leader *l = arg;
    uint64_t tick = l->config.tick_ns;
    unsigned quiet = 0; /* ticks without news */
    unsigned calm = 0;  /* without a deed */
    bool unsent = false;
    struct ts_patience patience = {0};

    pthread_mutex_lock(&l->mon_mu);
    while (!l->mon_quit) {
        if (quiet < QUIET_TICKS) {
            uint64_t deadline = ts_deadline_in(tick << calm / CALM_TICKS);
            while (!l->mon_quit && ts_cond_wait_until(&l->mon_cond, &l->mon_mu, deadline)) {
            }
        } else {
            unsigned shift = quiet - QUIET_TICKS + 1;
            if (shift > UNSENT_SHIFT_MAX)
                shift = UNSENT_SHIFT_MAX;
            if (sleep_until_woken(l, unsent ? tick << shift : UINT64_MAX)) {
                quiet = calm = 0; /* what was noted just now is looked at in a tick */
                continue;
            }
        }
        if (l->mon_quit)
            break;
        pthread_mutex_unlock(&l->mon_mu);
        /* Among many it takes its turn: whoever it pushed off may hold the GIL, and
         * all who run before that one comes back would queue for it. */
        ts_patience_set(&patience, ts_crowded(l));
        enum news news = look(l);
        pthread_mutex_lock(&l->mon_mu);
        unsent = news == UNSENT;
        quiet = news >= NEWS ? 0 : quiet + 1;
        calm = news == DEED ? 0 : calm + (calm < CALM_TICKS * CALM_SHIFT_MAX);
    }
    pthread_mutex_unlock(&l->mon_mu);
    return NULL;
}

/* Under mon_mu. All signals are blocked in it: they are for the program's threads.
 * If it cannot be started, the next handler tries again; until then a handler that
 * blocks holds the lead, once or twice, and is then predicted. */
static bool start_monitor(struct ts_leader *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    l->mon_started = !pthread_create(&l->monitor, NULL, monitor_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return l->mon_started;
}

void ts_monitor_wake(struct ts_leader *l)
{
    pthread_mutex_lock(&l->mon_mu);
    if (!l->mon_started) {
        if (start_monitor(l))
            atomic_store(&l->asleep, false);
    } else if (atomic_load(&l->asleep)) {
        atomic_store(&l->asleep, false);
        pthread_cond_signal(&l->mon_cond);
    }
    pthread_mutex_unlock(&l->mon_mu);
}

void ts_monitor_end(struct ts_leader *l)
{
    pthread_mutex_lock(&l->mon_mu);
    l->mon_quit = true;
    pthread_cond_signal(&l->mon_cond);
    pthread_mutex_unlock(&l->mon_mu);
    if (l->mon_started)
        pthread_join(l->monitor, NULL);
}
