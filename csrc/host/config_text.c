/* SPDX-License-Identifier: Apache-2.0 */
#include "host/config_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/policy.h"
#include "host/classes.h"

#define NCCL_CLASSES_MAX 4 /* rows of MFS_NCCL_CLASSES */
#define SLO_MOST 1e9  /* seconds, or times the TTFT alone */

/* A part of a text: it has no end of its own. */
struct span {
    const char *at;
    size_t length;
};

static bool span_is(struct span span, const char *word)
{
    return strlen(word) == span.length && memcmp(span.at, word, span.length) == 0;
}

static struct span span_trim(struct span span)
{
    while (span.length > 0 && isspace((unsigned char)span.at[0])) {
        span.at++;
        span.length--;
    }
    while (span.length > 0 && isspace((unsigned char)span.at[span.length - 1]))
        span.length--;
    return span;
}

/* The next part between commas; false: there is none. */
static bool span_next(const char **text, struct span *part)
{
    if (!*text)
        return false;
    part->at = *text;
    part->length = strcspn(*text, ",");
    *text = part->at[part->length] ? part->at + part->length + 1 : NULL;
    return true;
}

/* Cut "a:b" in two at the first `mark`; false: there is no such mark. */
static bool span_cut(struct span part, char mark, struct span *left, struct span *right)
{
    const char *cut = memchr(part.at, mark, part.length);

    if (!cut)
        return false;
    *left = (struct span){part.at, (size_t)(cut - part.at)};
    *right = (struct span){cut + 1, part.length - left->length - 1};
    return true;
}

/* Digits alone, and a number up to `most`. */
static bool span_number(struct span span, unsigned long most, unsigned long *number)
{
    unsigned long value = 0;

    for (size_t i = 0; i < span.length; i++) {
        if (!isdigit((unsigned char)span.at[i]))
            return false;
        value = value * 10 + (unsigned long)(span.at[i] - '0');
        if (value > most)
            return false;
    }
    *number = value;
    return span.length > 0;
}

/* --- words --- */

static const char *const stages[] = {"kv_reuse", "collective", "p2d"};

#define STAGES (sizeof(stages) / sizeof(stages[0]))

static const char *policy_at(size_t index)
{
    return mfs_policy_at(index) ? mfs_policy_at(index)->name : NULL;
}

static const char *gate_at(size_t index)
{
    static const char *const words[] = {"auto", "always", "never"};

    return index < sizeof(words) / sizeof(words[0]) ? words[index] : NULL;
}

static int check_words(const char *name, const char *text, const char *(*word_at)(size_t),
                       char *message, size_t size)
{
    const char *word;
    size_t length;

    for (size_t i = 0; (word = word_at(i)) != NULL; i++) {
        if (strcmp(word, text) == 0)
            return 0;
    }
    length = (size_t)snprintf(message, size, "%s=%.*s: one of", name, MFS_CONFIG_SHOWN, text);
    for (size_t i = 0; (word = word_at(i)) != NULL && length < size; i++)
        length += (size_t)snprintf(message + length, size - length, "%s %s", i ? "," : "", word);
    return -EINVAL;
}

/* --- lists --- */

static bool slo_name(struct span name)
{
    if (name.length == 0 || !isalpha((unsigned char)name.at[0]))
        return false;
    for (size_t i = 1; i < name.length; i++) {
        const char letter = name.at[i];

        if (!isalnum((unsigned char)letter) && letter != '_' && letter != '.' && letter != '-')
            return false;
    }
    return true;
}

/* 300ms, 2.5x, .5s: more than nothing, and at most SLO_MOST seconds or times. */
static bool slo_target(struct span text)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"x", 1}, {"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}};
    double value = 0, place = 1;
    bool digits = false, point = false;
    size_t i = 0;

    for (; i < text.length; i++) {
        const char letter = text.at[i];

        if (letter == '.' && !point) {
            point = true;
        } else if (isdigit((unsigned char)letter)) {
            digits = true;
            place = point ? place / 10 : place;
            value = point ? value + (letter - '0') * place : value * 10 + (letter - '0');
        } else {
            break;
        }
    }
    for (size_t unit = 0; digits && unit < sizeof(units) / sizeof(units[0]); unit++) {
        if (span_is((struct span){text.at + i, text.length - i}, units[unit].name))
            return value > 0 && value * units[unit].factor <= SLO_MOST;
    }
    return false;
}

static bool slo_is_right(const char *text)
{
    const char *rest = text, *before;
    struct span part, other, name, name_before, target;

    while (span_next(&rest, &part)) {
        part = span_trim(part);
        if (part.length == 0)
            continue;
        if (!span_cut(part, '=', &name, &target) || !slo_name(name) || !slo_target(target))
            return false;
        before = text;
        while (span_next(&before, &other) && other.at < part.at) {
            if (span_cut(span_trim(other), '=', &name_before, &target) &&
                name_before.at != name.at && name_before.length == name.length &&
                memcmp(name_before.at, name.at, name.length) == 0)
                return false; /* twice */
        }
    }
    return true;
}

/* A name as RFC 9110 allows it: a token. */
static bool header_is_right(struct span name)
{
    for (size_t i = 0; i < name.length; i++) {
        const char letter = name.at[i];

        if (!isalnum((unsigned char)letter) && !strchr("!#$%&'*+-.^_`|~", letter))
            return false;
    }
    return name.length > 0;
}

static bool headers_are_right(const char *text)
{
    struct span part;

    while (span_next(&text, &part)) {
        if (!header_is_right(span_trim(part)))
            return false;
    }
    return true;
}

static bool one_header_is_right(const char *text)
{
    return !strchr(text, ',') && headers_are_right(text);
}

static bool classes_are_right(const char *text)
{
    struct mfs_classes classes;

    return mfs_classes_parse(text, &classes) == 0;
}

static bool one_class_is_right(const char *text)
{
    struct mfs_classes classes;

    return mfs_classes_parse(text, &classes) == 0 && classes.count <= 1;
}

static bool nccl_classes_are_right(const char *text)
{
    unsigned long level, traffic_class, last = 0;
    struct span part, left, right;
    size_t count = 0;

    while (span_next(&text, &part)) {
        if (!span_cut(part, ':', &left, &right) || !span_number(left, MFS_LEVELS_MAX - 1, &level) ||
            !span_number(right, 255, &traffic_class) || count == NCCL_CLASSES_MAX ||
            (count == 0 ? level != 0 : level <= last))
            return false;
        last = level;
        count++;
    }
    return true;
}

static bool stages_are_right(const char *text)
{
    struct span part, left, right;
    unsigned long traffic_class;

    while (span_next(&text, &part)) {
        size_t stage = 0;

        if (!span_cut(part, ':', &left, &right) ||
            (!span_is(left, "p2p") && !span_number(left, INT32_MAX, &traffic_class)))
            return false;
        while (stage < STAGES && !span_is(right, stages[stage]))
            stage++;
        if (stage == STAGES)
            return false;
    }
    return true;
}

static const struct {
    const char *name;
    bool (*right)(const char *text);
    const char *form;
} lists[] = {
    {"MFS_SLO", slo_is_right,
     "each class once, as NAME=TIME or NAME=FACTORx: tight=300ms,loose=8x,default=10x"},
    {"MFS_TTFT_HEADERS", headers_are_right,
     "names of headers, with commas between them: x-mfs-ttft-ms,x-llm-d-slo-ttft-ms"},
    {"MFS_PRIORITY_HEADER", one_header_is_right, "the name of a header: x-dynamo-request-priority"},
    {"MFS_CLASSES", classes_are_right,
     "up to 8 DSCP values from 0 to 63, the most urgent first, with commas between them: 46,26,0"},
    {"MFS_CLASSES_ANSWERS", one_class_is_right, "one of the values of MFS_CLASSES, as 26"},
    {"MFS_NCCL_CLASSES", nccl_classes_are_right,
     "up to 4 of LEVEL:CLASS with levels that ascend from 0 and classes up to 255: 0:106,2:34"},
    {"MFS_NCCL_STAGES", stages_are_right,
     "CLASS:STAGE or p2p:STAGE, a stage being kv_reuse, collective or p2d: 1:kv_reuse,p2p:p2d"},
};

int mfs_config_text_check(const char *name, const char *text, char *message, size_t size)
{
    if (strcmp(name, "MFS_POLICY") == 0)
        return check_words(name, text, policy_at, message, size);
    if (strcmp(name, "MFS_NIXL_GATE") == 0)
        return check_words(name, text, gate_at, message, size);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (strcmp(name, lists[i].name) != 0 || !*text || lists[i].right(text))
            continue;
        snprintf(message, size, "%s=%.*s: %s", name, MFS_CONFIG_SHOWN, text, lists[i].form);
        return -EINVAL;
    }
    return 0;
}
