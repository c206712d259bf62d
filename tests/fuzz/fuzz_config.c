/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and values of variables: one that is checked by itself, and a whole environment that is
 * parsed as a process does when it starts. A value is taken as it lies within its bounds, or is
 * refused with one line that names it.
 *
 * config.c is included, since a process parses once and this one does at each input.
 */
#include "host/config.c"

#include "input.h"

#define VARIABLES 6

static void check_number(const struct row *row, const char *value)
{
    uint64_t number = 0;
    const int error = mfs_config_number(row->entry.name, value, &number);

    NEED(error == 0 || error == -EINVAL);
    if (error || row->type == TYPE_BOOL)
        NEED(error || number <= 1);
    else
        NEED((double)number >= row->minimum && (double)number <= row->maximum);
}

static void check_one(const char *name, const char *value)
{
    const struct row *row = row_find(name);
    char message[256];
    int error;

    memset(message, 1, sizeof(message));
    error = mfs_config_check(name, value, message, sizeof(message));
    NEED(error == (row ? error : -ENOENT));
    if (error == -EINVAL)
        NEED(memchr(message, '\0', sizeof(message)) && strstr(message, name));
    else
        NEED(error == 0 || error == -ENOENT);
    error = mfs_config_check(name, value, message, 8); /* as much of it as fits */
    NEED(error != -EINVAL || memchr(message, '\0', 8));
    if (row)
        check_number(row, value);
    (void)mfs_config_of_tools(name);
    (void)mfs_config_gone(name);
}

/* What the process goes by. */
static void check_values(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        const void *at = (const char *)&values + rows[i].offset;
        char message[256];

        if (rows[i].type == TYPE_STRING) {
            NEED(mfs_config_check(rows[i].entry.name, *(const char *const *)at, message,
                                  sizeof(message)) == 0);
        } else if (rows[i].type != TYPE_BOOL) {
            const double number = (double)*(const int64_t *)at;

            NEED(number >= rows[i].minimum && number <= rows[i].maximum);
        }
    }
    NEED(messages_count <= MESSAGES_MAX);
    for (unsigned i = 0; i < messages_count; i++)
        NEED(memchr(messages[i], '\0', sizeof(messages[i])));
}

/* Texts of the environment are kept for a process's life. */
static void texts_free(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        const char **text = (const char **)(void *)((char *)&values + rows[i].offset);

        if (rows[i].type == TYPE_STRING && *text != rows[i].entry.def) {
            free((char *)*text);
            *text = rows[i].entry.def;
        }
    }
}

/* A line up to its end, as a text of its own; NULL: there is no more. */
static char *line_take(struct input *input)
{
    const uint8_t *end;
    size_t length;
    char *line;

    if (input->left == 0)
        return NULL;
    end = memchr(input->at, '\n', input->left);
    length = end ? (size_t)(end - input->at) : input->left;
    line = malloc(length + 1);
    NEED(line);
    memcpy(line, input->at, length);
    line[length] = '\0';
    input->at += length + (end != NULL);
    input->left -= length + (end != NULL);
    return line;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

/* Lines of NAME=VALUE. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char **const real = environ, *variables[VARIABLES + 1] = {NULL};
    unsigned count = 0;

    for (char *line; count < VARIABLES && (line = line_take(&input)) != NULL;) {
        char *equals = strchr(line, '=');

        variables[count++] = line;
        if (!equals)
            continue;
        *equals = '\0';
        check_one(line, equals + 1);
        *equals = '=';
    }
    messages_count = 0;
    environ = variables;
    parse_environment();
    environ = real;
    check_values();
    texts_free();
    while (count > 0)
        free(variables[--count]);
    return 0;
}
