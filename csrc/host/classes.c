/* SPDX-License-Identifier: Apache-2.0 */
#include "host/classes.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "host/config.h"
#include "host/log.h"

int mfs_classes_parse(const char *text, struct mfs_classes *classes)
{
    struct mfs_classes found = {0};
    char *end;

    for (; *text; text = end) {
        unsigned long dscp;

        if (found.count > 0 && *text++ != ',')
            return -EINVAL;
        while (isspace((unsigned char)*text))
            text++;
        if (!isdigit((unsigned char)*text) || found.count == MFS_CLASSES_MAX)
            return -EINVAL;
        dscp = strtoul(text, &end, 10);
        if (dscp > MFS_DSCP_MAX)
            return -EINVAL;
        while (isspace((unsigned char)*end))
            end++;
        found.dscp[found.count++] = (uint8_t)dscp;
    }
    if (found.count > 0)
        found.rest = found.dscp[found.count - 1];
    *classes = found;
    return 0;
}

int mfs_classes_answers(const char *text, struct mfs_classes *classes)
{
    struct mfs_classes found;

    if (!*text)
        return 0;
    if (mfs_classes_parse(text, &found) != 0 || found.count != 1)
        return -EINVAL;
    for (unsigned i = 0; i < classes->count; i++) {
        if (classes->dscp[i] != found.dscp[0])
            continue;
        classes->rest = found.dscp[0];
        classes->has_answers = true;
        return 0;
    }
    return -EINVAL;
}

static struct mfs_classes own;

static void read_own(void)
{
    const struct mfs_config *config = mfs_config_get();

    (void)mfs_classes_parse(config->classes, &own); /* it was checked there */
    if (mfs_classes_answers(config->classes_answers, &own) != 0)
        mfs_log(MFS_LOG_WARN,
                "MFS_CLASSES_ANSWERS=%s is none of MFS_CLASSES=%s: what others read of us has "
                "the last one",
                config->classes_answers, config->classes);
}

const struct mfs_classes *mfs_classes_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_own);
    return &own;
}
