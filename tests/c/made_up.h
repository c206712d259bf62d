/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of files that is made up, for what reads /sys or /proc: below `root`. */
#ifndef MFS_TESTS_MADE_UP_H
#define MFS_TESTS_MADE_UP_H

#include <sys/stat.h>

#include "test.h"

static char root[256];

static inline void root_make(void)
{
    const char *folder = getenv("TMPDIR");

    snprintf(root, sizeof(root), "%s/made-up-XXXXXX", folder ? folder : "/tmp");
    CHECK(mkdtemp(root) != NULL);
}

/* root/path with this text, and the folders on the way. */
static inline void file_make(const char *path, const char *text)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        CHECK(mkdir(full, 0700) == 0 || errno == EEXIST);
        *at = '/';
    }
    file = fopen(full, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

#endif
