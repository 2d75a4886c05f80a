/* faults_one: what the tests share in which one function is called at a time and its
 * system calls fail. */
#ifndef FAULTS_ONE_H
#define FAULTS_ONE_H

#include "faults_calls.h"

static unsigned n_faults;

static void fail(enum fault_kind kind, unsigned at, unsigned times, int error, size_t cut)
{
    struct fault_plan plan = {kind, at, times, error, cut};

    faults_begin(&plan, NULL);
}

/* Whether the fault has come, as often as it was to. */
static void failed(unsigned times)
{
    CHECK(atomic_load(&faults_fired) == times);
    n_faults += times;
    faults_begin(NULL, NULL);
}

/* The same of a socket pair whose both ends csrc may use. */
static void open_pair(int s[2], int type)
{
    CHECK(socketpair(AF_UNIX, type, 0, s) == 0);
    faults_give(s[0]);
    faults_give(s[1]);
}

static void close_pair(int s[2])
{
    fault_close(s[0]);
    fault_close(s[1]);
    faults_check_books();
}

#endif
