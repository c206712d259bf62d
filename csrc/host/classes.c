/* SPDX-License-Identifier: Apache-2.0 */
#include "host/classes.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "host/config.h"

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
    *classes = found;
    return 0;
}

static struct mfs_classes own;

static void read_own(void)
{
    (void)mfs_classes_parse(mfs_config_get()->classes, &own); /* it was checked there */
}

const struct mfs_classes *mfs_classes_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_own);
    return &own;
}
