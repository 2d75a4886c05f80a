/* See leader.h for the contract, leader_private.h for who may change what, and
 * model/leader.pml for the proof. Here is the workers' side; monitor.c is the
 * other one, and crew.c who takes part. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* RUSAGE_THREAD */
#endif
#include "leader_private.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

/* Exit finds its slot locked (a send is under way): spin, then yield, then sleep,
 * so that a monitor that lost its processor gets it back. */
#define SPINS 64
#define YIELDS 128
#define SPIN_SLEEP_NS 20000

/* --- has it waited? ---------------------------------------------------------- */

/* Has this thread waited since the mark? Where the kernel counts a thread's
 * voluntary context switches, one switch says yes. Elsewhere the processor time
 * must have fallen behind the clock's by TS_SLOW_NS. (A wait for the GIL counts,
 * too: it is a wait that the next request would have to sit out.) */
static uint64_t waited_mark(void)
{
#ifdef RUSAGE_THREAD
    struct rusage r;
    return getrusage(RUSAGE_THREAD, &r) ? 0 : (uint64_t)r.ru_nvcsw;
#else
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

static bool waited_since(uint64_t mark, uint64_t elapsed)
{
#ifdef RUSAGE_THREAD
    (void)elapsed;
    return waited_mark() != mark;
#else
    return elapsed > waited_mark() - mark + TS_SLOW_NS;
#endif
}

uint64_t ts_worker_now(struct ts_worker *w)
{
    return w->now = ts_monotonic_ns();
}

/* --- the lead word ------------------------------------------------------------ */

void ts_lead_polls(struct ts_worker *w)
{
    ts_patience_set(&w->patience, false);
}

bool ts_leads(const struct ts_worker *w)
{
    const struct ts_leader *l = w->l;
    /* Relaxed: equal means that nobody else changed the word since we were given
     * the lead; unequal, that we have no more business with what it guards. */
    return w->gen == word_gen(atomic_load_explicit(&l->word, memory_order_relaxed)) && !l->inert;
}

/* --- followers: the idle stack and the vacancy, all under mu -------------------- */

static void idle_push(struct ts_leader *l, struct ts_worker *w)
{
    w->above = NULL;
    w->below = l->idle_top;
    if (w->below)
        w->below->above = w;
    l->idle_top = w;
    atomic_fetch_add_explicit(&l->nidle, 1, memory_order_relaxed);
}

static void idle_remove(struct ts_leader *l, struct ts_worker *w)
{
    if (w->above)
        w->above->below = w->below;
    else
        l->idle_top = w->below;
    if (w->below)
        w->below->above = w->above;
    w->above = w->below = NULL;
    atomic_fetch_sub_explicit(&l->nidle, 1, memory_order_relaxed);
}

/* Nobody leads while this is called, so the generation stands still. */
static void give_lead(struct ts_leader *l, struct ts_worker *w)
{
    uint64_t word = atomic_load_explicit(&l->word, memory_order_acquire);
    TS_ASSERT(!(word & WORD_BUSY) && !l->vacant);
    w->gen = word_gen(word);
}

/* Under mu. Takes the vacant lead. */
static void take_lead(struct ts_leader *l, struct ts_worker *w)
{
    l->vacant = false;
    give_lead(l, w);
}

void ts_pass_on(struct ts_leader *l)
{
    struct ts_worker *called = NULL;
    pthread_mutex_lock(&l->mu);
    TS_ASSERT(!l->vacant);
    l->vacant = true;
    if (!l->stopping && !l->waking)
        called = l->waking = l->idle_top;
    pthread_mutex_unlock(&l->mu);
    /* After unlocking, or it would wake only to wait for us. It may have looked by
     * itself meanwhile, even have left; but `called` stays where it is, for
     * ts_leader_free() comes after the monitor and the workers are gone. */
    if (called)
        ts_wakeup_post(&called->wake);
}

void ts_lead_release(struct ts_leader *l, struct ts_worker *w)
{
    if (!ts_leads(w))
        return;
    uint64_t word = atomic_load_explicit(&l->word, memory_order_relaxed);
    TS_ASSERT(!(word & WORD_BUSY)); /* even and ours: nobody else may change it */
    w->gen = 0;
    atomic_store_explicit(&l->word, word_next_gen(word), memory_order_release);
    ts_pass_on(l);
}

void ts_has_come(struct ts_leader *l, struct ts_worker *w)
{
    if (w->fresh)
        atomic_store_explicit(&l->spare_coming, false, memory_order_relaxed);
    w->fresh = false;
}

/* Under mu; not leading, and neither vacant nor stopping. */
static enum ts_lead follow(struct ts_leader *l, struct ts_worker *w, uint64_t idle_ns)
{
    enum ts_lead result;
    uint64_t deadline = idle_ns ? ts_deadline_in(idle_ns) : UINT64_MAX;

    idle_push(l, w);
    for (;;) {
        pthread_mutex_unlock(&l->mu);
        bool called = ts_wakeup_wait(&w->wake, deadline);
        pthread_mutex_lock(&l->mu);
        if (l->waking == w)
            l->waking = NULL;
        result = l->stopping ? TS_LEAD_STOP : l->vacant ? TS_LEAD : TS_LEAD_RETIRE;
        if (result != TS_LEAD_RETIRE)
            break;
        if (called)
            continue; /* somebody else was there before us */
        if (atomic_load_explicit(&l->nidle, memory_order_relaxed) > 1)
            break;
        deadline = ts_deadline_in(idle_ns);
    }
    idle_remove(l, w);
    if (result == TS_LEAD)
        take_lead(l, w);
    return result;
}

/* Under mu: whether w leads now. */
static bool leads_now(struct ts_leader *l, struct ts_worker *w)
{
    ts_has_come(l, w);
    if (ts_leads(w))
        return true;
    if (!l->vacant || l->stopping)
        return false;
    take_lead(l, w);
    return true;
}

bool ts_lead_try(struct ts_leader *l, struct ts_worker *w)
{
    if (l->inert || l->stopping)
        return false;
    pthread_mutex_lock(&l->mu);
    bool leads = leads_now(l, w);
    pthread_mutex_unlock(&l->mu);
    if (leads)
        ts_worker_now(w);
    return leads;
}

enum ts_lead ts_lead_wait(struct ts_leader *l, struct ts_worker *w, uint64_t idle_ns)
{
    if (l->inert)
        return TS_LEAD_STOP;
    if (l->stopping)
        ts_lead_release(l, w);

    enum ts_lead result = TS_LEAD;
    pthread_mutex_lock(&l->mu);
    if (!leads_now(l, w))
        result = l->stopping ? TS_LEAD_STOP : follow(l, w, idle_ns);
    pthread_mutex_unlock(&l->mu);
    if (result == TS_LEAD)
        ts_worker_now(w);
    return result;
}

bool ts_lead_wants_spare(struct ts_leader *l)
{
    if (TS_LIKELY(atomic_load_explicit(&l->nidle, memory_order_relaxed) != 0)
        || atomic_load_explicit(&l->nthreads, memory_order_relaxed) >= l->config.max_threads
        || atomic_load_explicit(&l->stopping, memory_order_relaxed) || l->inert)
        return false;
    return !atomic_load_explicit(&l->spare_coming, memory_order_relaxed)
           && !atomic_exchange_explicit(&l->spare_coming, true, memory_order_relaxed);
}

void ts_lead_spare_failed(struct ts_leader *l)
{
    atomic_store_explicit(&l->spare_coming, false, memory_order_relaxed);
}

/* --- around each handler ------------------------------------------------------------ */

void ts_handler_enter(struct ts_leader *l, struct ts_worker *w, void *conn, unsigned hint)
{
    if (TS_UNLIKELY(l->inert))
        return;
    w->measured = hint != TS_HINT_NONE && l->config.max_threads > 1;
    if (TS_UNLIKELY(w->measured)) {
        if (hint == TS_HINT_BLOCKS) {
            if (ts_crowded(l))
                ts_patience_set(&w->patience, true);
            ts_lead_release(l, w);
        }
        ts_worker_now(w); /* the hand-over is not the handler's time */
        w->mark = waited_mark();
    }
    w->began = w->now;
    w->conn = conn;
    atomic_store_explicit(&w->visited, false, memory_order_relaxed);
    atomic_store_explicit(&w->dirty, false, memory_order_relaxed);

    /* The word before the slot: a monitor that has seen the slot sees the word. */
    w->entered = 0;
    if (ts_leads(w)) {
        uint64_t word = atomic_load_explicit(&l->word, memory_order_relaxed);
        TS_ASSERT(!(word & WORD_BUSY));
        w->entered = word_next_seq(word);
        /* Release: from here on whoever takes the lead sees all we did as leader. */
        atomic_store_explicit(&l->word, w->entered, memory_order_release);
    }
    uint64_t slot = atomic_load_explicit(&w->slot, memory_order_relaxed);
    TS_ASSERT(!(slot & (SLOT_BUSY | SLOT_LOCKED)));
    /* Both seq_cst: the other half is in may_sleep(). */
    atomic_store(&w->slot, slot | SLOT_BUSY);
    if (TS_UNLIKELY(atomic_load(&l->asleep)))
        ts_monitor_wake(l);
}

/* The monitor is sending what this handler wrote: a system call's time, unless it
 * has lost its processor. */
static void wait_for_flush(unsigned turn)
{
    if (turn < SPINS) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
    } else if (turn < SPINS + YIELDS) {
        sched_yield();
    } else {
        struct timespec t = ts_timespec(SPIN_SLEEP_NS);
        nanosleep(&t, NULL);
    }
}

static void tell_idle_waiters(struct ts_leader *l)
{
    pthread_mutex_lock(&l->mu);
    pthread_cond_broadcast(&l->idle_cond);
    pthread_mutex_unlock(&l->mu);
}

struct ts_handler_exit ts_handler_exit(struct ts_leader *l, struct ts_worker *w)
{
    struct ts_handler_exit end = {false, false, false};
    if (TS_UNLIKELY(l->inert))
        return end;

    uint64_t elapsed = ts_worker_now(w) - w->began;
    end.slow = elapsed >= TS_SLOW_NS;

    uint64_t busy = atomic_load_explicit(&w->slot, memory_order_relaxed) & ~SLOT_LOCKED;
    uint64_t seen = busy;
    TS_ASSERT(busy & SLOT_BUSY);
    /* seq_cst: the other half is in ts_leader_wait_idle(). */
    for (unsigned turn = 0;
         !atomic_compare_exchange_weak(&w->slot, &seen, (busy & ~SLOT_BUSY) + SLOT_STEP); turn++) {
        seen = busy;
        wait_for_flush(turn);
    }
    if (TS_UNLIKELY(atomic_load(&l->idle_waiters) != 0))
        tell_idle_waiters(l);

    bool lost = false;
    if (w->entered) {
        uint64_t word = w->entered;
        /* Acquire is for a lead that stayed, release for whoever has it next. */
        end.leads = atomic_compare_exchange_strong_explicit(
            &l->word, &word, word_next_seq(word), memory_order_acq_rel, memory_order_relaxed);
        lost = !end.leads;
        if (lost)
            w->gen = 0;
    }
    end.blocked = lost || elapsed >= 2 * (uint64_t)l->config.tick_ns
                  || (end.slow && w->measured && waited_since(w->mark, elapsed));
    return end;
}

void ts_handler_dirty(struct ts_leader *l, struct ts_worker *w)
{
    /* Not visited yet: the first visit is still to come, and finds the octets. */
    if (TS_LIKELY(!atomic_load_explicit(&w->visited, memory_order_relaxed)) || l->inert)
        return;
    atomic_store(&w->dirty, true);
    if (atomic_load(&l->asleep))
        ts_monitor_wake(l);
}
