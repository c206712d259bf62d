/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing happens once, under pthread_once. What it has to say is kept and logged
 * after it, since the log's own level is one of the values being parsed.
 */
#include "host/config.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/atomic.h"
#include "host/config_text.h"
#include "host/log.h"

#define MESSAGES_MAX 16
#define NAME_MAX_LENGTH 63

extern char **environ;

enum type { TYPE_BOOL, TYPE_UINT, TYPE_BYTES, TYPE_RATE, TYPE_TIME, TYPE_STRING };

struct suffix {
    const char *text;
    double factor;
};

static const struct suffix bytes_suffixes[] = {
    {"", 1}, {"k", 1024}, {"m", 1048576}, {"g", 1073741824}, {NULL, 0}};
static const struct suffix rate_suffixes[] = {
    {"", 1}, {"kbit", 125}, {"mbit", 125000}, {"gbit", 125000000}, {NULL, 0}};
static const struct suffix time_suffixes[] = {
    {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {NULL, 0}};
static const struct suffix no_suffixes[] = {{"", 1}, {NULL, 0}};

static const struct {
    const struct suffix *suffixes;
    const char *form;
} numbers[] = {
    [TYPE_BOOL] = {NULL, "0, 1, yes, no, on or off"},
    [TYPE_UINT] = {no_suffixes, "a whole number"},
    [TYPE_BYTES] = {bytes_suffixes, "bytes, with k, m or g behind (powers of 1024)"},
    [TYPE_RATE] = {rate_suffixes, "bytes per second, or kbit, mbit, gbit behind (bits per second)"},
    [TYPE_TIME] = {time_suffixes, "a time with its unit: ns, us, ms or s"},
    [TYPE_STRING] = {NULL, "text"},
};

struct row {
    struct mfs_config_entry entry;
    enum type type;
    size_t offset; /* in struct mfs_config */
    double minimum, maximum;
};

#define ROW(field, NAME, TYPE, def, min, max, help)                                                \
    {{#NAME, #TYPE, def, help}, TYPE_##TYPE, offsetof(struct mfs_config, field), min, max},

/* Those that are shown, then the hooks of tests. */
static const struct row rows[] = {
#define MFS_CONFIG ROW
#include "host/config.def"
#define MFS_CONFIG_HOOK ROW
#include "host/config.def"
};

#define COUNTED(...) +1
static const size_t rows_shown = 0
#define MFS_CONFIG COUNTED
#include "host/config.def"
    ;

static const struct {
    const char *name, *instead;
} gone[] = {
#define MFS_CONFIG_GONE(NAME, instead) {#NAME, instead},
#include "host/config.def"
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static struct mfs_config values;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char messages[MESSAGES_MAX][256];
static unsigned messages_count;
static _Atomic bool messages_due;
static _Atomic bool all_said; /* and nothing is left to say */

const struct mfs_config_entry *mfs_config_entry_at(size_t index)
{
    return index < rows_shown ? &rows[index].entry : NULL;
}

static const struct row *row_find(const char *name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].entry.name, name) == 0)
            return &rows[i];
    }
    return NULL;
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"1", "y", "yes", "on", "true"};
    static const char *const no[] = {"0", "n", "no", "off", "false"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *value = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool parse_number(const struct suffix *suffix, const char *text, double *value)
{
    char *end;
    double number;

    if (!isdigit((unsigned char)*text) && *text != '.')
        return false;
    number = strtod(text, &end);
    if (!isfinite(number) || strpbrk(text, "xX"))
        return false;
    if (number == 0.0 && *end == '\0') { /* nothing needs no unit */
        *value = 0.0;
        return true;
    }
    for (; suffix->text; suffix++) {
        if (strcasecmp(end, suffix->text) == 0) {
            *value = number * suffix->factor;
            return true;
        }
    }
    return false;
}

/* Parse into *to (of the row's type); message says what is allowed when it fails. */
static int parse(const struct row *row, const char *text, void *to, char *message, size_t size)
{
    double number = 0.0;
    bool truth = false;

    if (row->type == TYPE_STRING) {
        int error = mfs_config_text_check(row->entry.name, text, message, size);

        if (!error)
            *(const char **)to = text;
        return error;
    }
    if (row->type == TYPE_BOOL ? !parse_bool(text, &truth)
                               : !parse_number(numbers[row->type].suffixes, text, &number) ||
                                     (row->type == TYPE_UINT && number != floor(number))) {
        snprintf(message, size, "%s=%.*s: %s is expected", row->entry.name, MFS_CONFIG_SHOWN, text,
                 numbers[row->type].form);
        return -EINVAL;
    }
    if (number < row->minimum || number > row->maximum) {
        snprintf(message, size, "%s=%.*s: must lie between %.0f and %.0f%s", row->entry.name,
                 MFS_CONFIG_SHOWN, text, row->minimum, row->maximum,
                 row->type == TYPE_TIME ? " ns" : "");
        return -EINVAL;
    }
    if (row->type == TYPE_BOOL)
        *(bool *)to = truth;
    else if (row->type == TYPE_TIME)
        *(int64_t *)to = (int64_t)number;
    else
        *(uint64_t *)to = (uint64_t)number;
    return 0;
}

union value {
    bool truth;
    uint64_t number;
    int64_t time;
    const char *text;
};

int mfs_config_check(const char *name, const char *value, char *message, size_t size)
{
    const struct row *row = row_find(name);
    union value unused;

    if (!row)
        return -ENOENT;
    return parse(row, value, &unused, message, size);
}

int mfs_config_number(const char *name, const char *value, uint64_t *number)
{
    const struct row *row = row_find(name);
    union value parsed;
    char message[256];

    if (!row)
        return -ENOENT;
    if (row->type == TYPE_STRING || parse(row, value, &parsed, message, sizeof(message)) != 0)
        return -EINVAL;
    if (row->type == TYPE_BOOL)
        *number = parsed.truth;
    else
        *number = row->type == TYPE_TIME ? (uint64_t)parsed.time : parsed.number;
    return 0;
}

/* --- names that nobody knows --- */

static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_LENGTH + 1];
    const size_t width = strlen(b);

    for (size_t j = 0; j <= width; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; a[i]; i++) {
        unsigned corner = row[0];

        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < width; j++) {
            unsigned best = corner + (a[i] != b[j]);

            corner = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (corner + 1 < best)
                best = corner + 1;
            row[j + 1] = best;
        }
    }
    return row[width];
}

static void say(const char *text)
{
    if (messages_count < MESSAGES_MAX)
        snprintf(messages[messages_count++], sizeof(messages[0]), "%s", text);
}

bool mfs_config_of_tools(const char *name)
{
    static const char *const names[] = {"MFS_PYTHON", "MFS_SETUP_APT", "MFS_UCX_INCLUDE",
                                        "MFS_VLLM_VENV"};
    static const char *const prefixes[] = {"MFS_BENCH_", "MFS_TEST_"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}

const char *mfs_config_gone(const char *name)
{
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
        if (strcmp(name, gone[i].name) == 0)
            return gone[i].instead;
    }
    return NULL;
}

static void look_for_unknown(void)
{
    for (char **at = environ; at && *at; at++) {
        const char *equals = strchr(*at, '=');
        const struct row *nearest = &rows[0];
        char name[NAME_MAX_LENGTH + 1], text[256];
        size_t length = equals ? (size_t)(equals - *at) : 0;

        if (strncmp(*at, "MFS_", 4) != 0 || length == 0 || length > NAME_MAX_LENGTH)
            continue;
        memcpy(name, *at, length);
        name[length] = '\0';
        if (row_find(name) || mfs_config_of_tools(name))
            continue;
        if (mfs_config_gone(name)) {
            snprintf(text, sizeof(text), "%s is gone and is ignored: %s", name,
                     mfs_config_gone(name));
            say(text);
            continue;
        }
        for (size_t i = 1; i < rows_shown; i++) {
            if (distance(name, rows[i].entry.name) < distance(name, nearest->entry.name))
                nearest = &rows[i];
        }
        snprintf(text, sizeof(text), "%s is no variable of ours and is ignored; did you mean %s?",
                 name, nearest->entry.name);
        say(text);
    }
}

static void parse_environment(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        void *to = (char *)&values + rows[i].offset;
        char *text = getenv(rows[i].entry.name), message[256];

        (void)parse(&rows[i], rows[i].entry.def, to, message, sizeof(message));
        if (!text || !*text) /* empty is unset */
            continue;
        if (rows[i].type == TYPE_STRING)
            text = strdup(text); /* the environment may change; kept for the process's life */
        if (text && parse(&rows[i], text, to, message, sizeof(message)) != 0) {
            strncat(message, "; the default is used", sizeof(message) - strlen(message) - 1);
            say(message);
            if (rows[i].type == TYPE_STRING)
                free(text);
        }
    }
    look_for_unknown();
    mfs_publish(&messages_due, messages_count > 0);
}

/* Parse, and say what there is to say. */
static void parse_once(void)
{
    pthread_once(&once, parse_environment);
    if (mfs_get(&messages_due) && mfs_swap(&messages_due, false)) {
        for (unsigned i = 0; i < messages_count; i++)
            mfs_log(MFS_LOG_WARN, "%s", messages[i]);
    }
    mfs_publish(&all_said, true);
}

const struct mfs_config *mfs_config_get(void)
{
    if (!mfs_see(&all_said)) /* some calls a chunk come here */
        parse_once();
    return &values;
}
