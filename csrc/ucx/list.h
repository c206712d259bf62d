/* SPDX-License-Identifier: Apache-2.0 */
/* A list of requests by their next field, first in, first out. The owner locks. */
#ifndef MFS_UCX_LIST_H
#define MFS_UCX_LIST_H

#include "ucx/worker.h"

static inline void mfs_ucx_list_append(struct mfs_ucx_list *list, struct mfs_ucx_request *request)
{
    request->next = NULL;
    if (list->last)
        list->last->next = request;
    else
        list->first = request;
    list->last = request;
}

/* NULL: empty. */
static inline struct mfs_ucx_request *mfs_ucx_list_pop(struct mfs_ucx_list *list)
{
    struct mfs_ucx_request *request = list->first;

    if (request) {
        list->first = request->next;
        if (!list->first)
            list->last = NULL;
    }
    return request;
}

#endif
