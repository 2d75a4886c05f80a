/* census: see census.h. Open addressing, linear probing; an entry that becomes
 * free has those behind it moved up, so that no search meets a gap. */
#include "census.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 64u

int ts_census_init(struct ts_census *census)
{
    return -pthread_mutex_init(&census->lock, NULL);
}

void ts_census_free(struct ts_census *census)
{
    pthread_mutex_destroy(&census->lock);
    free(census->entries);
    census->entries = NULL;
    census->cap = census->used = 0;
}

static bool address_of(const struct ts_addr *peer, uint64_t *address)
{
    uint32_t v4;
    switch (peer->u.sa.sa_family) {
    case AF_INET:
        memcpy(&v4, &peer->u.in.sin_addr, sizeof v4);
        *address = v4;
        return true;
    case AF_INET6:
        if (IN6_IS_ADDR_V4MAPPED(&peer->u.in6.sin6_addr)) {
            memcpy(&v4, peer->u.in6.sin6_addr.s6_addr + 12, sizeof v4);
            *address = v4;
        } else {
            memcpy(address, peer->u.in6.sin6_addr.s6_addr, sizeof *address);
        }
        return true;
    default:
        return false;
    }
}

/* A good mixing of all bits (the finalizer of splitmix64): peers choose them. */
static uint32_t place_of(const struct ts_census *census, uint64_t address)
{
    address = (address ^ address >> 30) * 0xbf58476d1ce4e5b9u;
    address = (address ^ address >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(address ^ address >> 31) & (census->cap - 1);
}

/* Where an address is, or would be. cap > used. */
static uint32_t find(const struct ts_census *census, uint64_t address)
{
    uint32_t at = place_of(census, address);
    while (census->entries[at].count > 0 && census->entries[at].address != address)
        at = (at + 1) & (census->cap - 1);
    return at;
}

static bool grow(struct ts_census *census)
{
    struct ts_census old = *census;
    uint32_t cap = old.cap > 0 ? old.cap * 2 : FIRST_CAP;
    struct ts_census_entry *entries = calloc(cap, sizeof *entries);
    if (entries == NULL)
        return false;
    census->entries = entries;
    census->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.entries[i].count > 0)
            entries[find(census, old.entries[i].address)] = old.entries[i];
    free(old.entries);
    return true;
}

enum ts_census_says ts_census_enter(struct ts_census *census,
                                    const struct ts_addr *peer, uint32_t max)
{
    enum ts_census_says says = TS_CENSUS_NOT_COUNTED;
    uint64_t address;

    if (!address_of(peer, &address))
        return says;
    pthread_mutex_lock(&census->lock);
    if (census->used < census->cap / 2 || grow(census)) {
        struct ts_census_entry *entry = &census->entries[find(census, address)];
        says = entry->count < max ? TS_CENSUS_COUNTED : TS_CENSUS_FULL;
        if (says == TS_CENSUS_COUNTED && entry->count++ == 0) {
            entry->address = address;
            census->used++;
        }
    }
    pthread_mutex_unlock(&census->lock);
    return says;
}

/* The entry at `gap` is free: what a search would look for beyond it moves up. */
static void close_gap(struct ts_census *census, uint32_t gap)
{
    uint32_t mask = census->cap - 1, at = gap;
    for (;;) {
        at = (at + 1) & mask;
        if (census->entries[at].count == 0)
            return;
        uint32_t home = place_of(census, census->entries[at].address);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            census->entries[gap] = census->entries[at];
            census->entries[at].count = 0;
            gap = at;
        }
    }
}

void ts_census_leave(struct ts_census *census, const struct ts_addr *peer)
{
    uint64_t address;

    if (!address_of(peer, &address))
        return;
    pthread_mutex_lock(&census->lock);
    if (census->cap > 0) {
        uint32_t at = find(census, address);
        if (census->entries[at].count > 0 && --census->entries[at].count == 0) {
            census->used--;
            close_gap(census, at);
        }
    }
    pthread_mutex_unlock(&census->lock);
}
