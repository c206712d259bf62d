/* SPDX-License-Identifier: Apache-2.0 */
#include "host/link.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GBIT_MAX 100000.0 /* faster than any link: no number, or not one of this kind */

/* Is there hardware behind the interface, or are there interfaces that have some? */
static bool real(const char *sysfs, const char *name)
{
    static const char *const signs[] = {"device", "bonding"};
    char path[512];

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        snprintf(path, sizeof(path), "%s/class/net/%s/%s", sysfs, name, signs[i]);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* The number that a file begins with, or 0. */
static double number_in(const char *path)
{
    FILE *file = fopen(path, "re");
    char line[64] = "";
    double number;

    if (!file)
        return 0.0;
    if (!fgets(line, sizeof(line), file)) /* a device that is down refuses to be read */
        line[0] = '\0';
    fclose(file);
    number = strtod(line, NULL);
    return number > 0.0 ? number : 0.0; /* -1: unknown */
}

static uint64_t device_rate_Bps(const char *sysfs, const char *name)
{
    const char *colon = strchr(name, ':');
    const int length = colon ? (int)(colon - name) : (int)strlen(name);
    const unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 1;
    char path[512];
    double gbit;

    if (length == 0 || name[0] == '.' || strchr(name, '/')) /* no device: a path */
        return 0;
    snprintf(path, sizeof(path), "%s/class/infiniband/%.*s/ports/%lu/rate", sysfs, length, name,
             port);
    gbit = number_in(path);
    if (!(gbit > 0.0) && real(sysfs, name)) {
        snprintf(path, sizeof(path), "%s/class/net/%s/speed", sysfs, name);
        gbit = number_in(path) / 1000.0;
    }
    return gbit > 0.0 && gbit <= GBIT_MAX ? (uint64_t)(gbit * 1e9 / 8.0) : 0;
}

uint64_t mfs_link_rate_Bps(const char *sysfs, const char *name)
{
    uint64_t sum_Bps = 0;
    char device[256];

    do {
        const size_t length = strcspn(name, "+");
        uint64_t rate_Bps;

        snprintf(device, sizeof(device), "%.*s", (int)length, name);
        rate_Bps = device_rate_Bps(sysfs, device);
        if (rate_Bps == 0)
            return 0;
        sum_Bps += rate_Bps;
        name += length;
    } while (*name++ == '+');
    return sum_Bps;
}
