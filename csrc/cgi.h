/* cgi: what CGI variables (RFC 3875; PEP 3333 for Python) are made of.
 *
 * Pure functions from octets to octets: any thread, no state, no allocation.
 *
 * What may not live here: which variables there are, Python's strings.
 */
#ifndef TS_CGI_H
#define TS_CGI_H

#include "ts.h"

/* Writes the n octets of a field's name as a variable has it: letters in upper case, "_"
 * for "-". Returns whether the name has a "_" of its own: then it is the same variable
 * as another name's, and who sets one can pass for the other. */
bool ts_cgi_name(char *out, const char *name, size_t n);

/* Writes n octets with "%" HEXDIG HEXDIG decoded (RFC 3986, 2.1); a "%" that begins
 * nothing stays. out has room for n. Returns the length. */
size_t ts_percent_decode(char *out, const char *text, size_t n);

/* For a table of names: few collide. */
static inline uint32_t ts_name_hash(const char *name, size_t n)
{
    uint32_t hash = (uint32_t)n * 0x9e3779b1u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)name[i]) * 0x01000193u;
    return hash ^ hash >> 15;
}

#endif
