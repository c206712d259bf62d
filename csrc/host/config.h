/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration of a process: config.def, read from the environment once.
 * A bad value is refused with one line that names it and what is allowed, and the
 * default is used; an unknown MFS_ variable is named with the nearest right one.
 */
#ifndef MFS_HOST_CONFIG_H
#define MFS_HOST_CONFIG_H

#include "core/types.h"

typedef bool mfs_config_BOOL;
typedef uint64_t mfs_config_UINT;
typedef uint64_t mfs_config_BYTES;
typedef uint64_t mfs_config_RATE;
typedef int64_t mfs_config_TIME;
typedef const char *mfs_config_STRING;

struct mfs_config {
#define MFS_CONFIG(field, NAME, TYPE, def, min, max, help) mfs_config_##TYPE field;
#define MFS_CONFIG_HOOK MFS_CONFIG
#include "host/config.def"
};

/* One row of the table, for `mfs info` and the docs. */
struct mfs_config_entry {
    const char *name;  /* MFS_POLICY */
    const char *type;  /* STRING */
    const char *def;   /* as written */
    const char *help;
};

/* The process's configuration; parsed at the first call, never changed after. */
MFS_API const struct mfs_config *mfs_config_get(void);
/* Row `index` of the table, NULL behind the last; hooks of tests are not among them. */
MFS_API const struct mfs_config_entry *mfs_config_entry_at(size_t index);
/*
 * Check `value` for the variable `name` as parsing would. 0, -ENOENT (no such
 * variable) or -EINVAL; then message (of size bytes) says what is allowed.
 */
MFS_API int mfs_config_check(const char *name, const char *value, char *message, size_t size);
/* What `value` is as a number (a truth value is 0 or 1, a time nanoseconds). 0 or, with *number
 * as it was, -ENOENT (no such variable) or -EINVAL (it cannot be used, or is a text). */
MFS_API int mfs_config_number(const char *name, const char *value, uint64_t *number);

/* A variable of the build, the scripts, the benches or the tests: not ours, but no mistake. */
MFS_API bool mfs_config_of_tools(const char *name);

/* Of a variable that is no more: what to do instead. NULL: there was none of this name. */
MFS_API const char *mfs_config_gone(const char *name);

#endif
