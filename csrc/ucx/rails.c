/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UCX tells no value of a configuration, but it prints all of them: "UCX_MAX_RMA_RAILS=1". That
 * has what the environment, a file of UCX's and the program have set. A UCX that does not know the
 * setting sends each put and get through one device.
 */
#include "ucx/rails.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const setting = "MAX_RMA_RAILS=";

static unsigned number_in(const char *text)
{
    const char *at = strstr(text, setting);
    unsigned long number;

    if (!at)
        return 1;
    at += strlen(setting);
    number = strncmp(at, "inf", 3) == 0 ? UINT8_MAX : strtoul(at, NULL, 10);
    return number == 0 ? 1 : number < UINT8_MAX ? (unsigned)number : UINT8_MAX;
}

static unsigned rails_of(const struct mfs_ucx_api *api, const ucp_config_t *config)
{
    unsigned rails = 1;
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        return 1;
    api->ucp_config_print(config, file, "", UCS_CONFIG_PRINT_CONFIG);
    if (fclose(file) == 0)
        rails = number_in(text);
    free(text);
    return rails;
}

unsigned mfs_ucx_rails(const struct mfs_ucx_api *api, const ucp_config_t *config)
{
    ucp_config_t *own;
    unsigned rails;

    if (!api->ucp_config_print)
        return 1;
    if (config)
        return rails_of(api, config);
    if (!api->ucp_config_read || !api->ucp_config_release ||
        api->ucp_config_read(NULL, NULL, &own) != UCS_OK)
        return 1;
    rails = rails_of(api, own);
    api->ucp_config_release(own);
    return rails;
}
