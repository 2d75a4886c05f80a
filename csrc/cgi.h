/* cgi: what CGI variables (RFC 3875; PEP 3333 for Python) are made of.
 *
 * Pure functions from octets to octets: any thread, no state, no allocation.
 *
 * What may not live here: which variables there are, Python's strings.
 */
#ifndef TS_CGI_H
#define TS_CGI_H

#include "ts.h"

#include <string.h>

/* Writes the n octets of a field's name as a variable has it: letters in upper case, "_"
 * for "-". Returns whether the name has a "_" of its own: then it is the same variable
 * as another name's, and who sets one can pass for the other. */
bool ts_cgi_name(char *out, const char *name, size_t n);

/* Writes n octets with "%" HEXDIG HEXDIG decoded (RFC 3986, 2.1); a "%" that begins
 * nothing stays. out has room for n. Returns the length. */
size_t ts_percent_decode(char *out, const char *text, size_t n);

/* Whether n octets are a token (RFC 9110, 5.6.2), as names of fields are. */
bool ts_is_token(const char *name, size_t n);

/* For a table of names, n >= 1: the names of fields differ in their length, at their
 * beginning or at their end. */
static inline uint32_t ts_name_hash(const char *name, size_t n)
{
    uint32_t first = 0, last = 0, hash;
    if (n >= 4) {
        memcpy(&first, name, 4);
        memcpy(&last, name + n - 4, 4);
    } else {
        memcpy(&first, name, n);
    }
    hash = (first * 0x9e3779b1u) ^ (last * 0x85ebca6bu) ^ (uint32_t)n * 0xc2b2ae35u;
    return hash ^ hash >> 15;
}

#endif
