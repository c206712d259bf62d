/* SPDX-License-Identifier: Apache-2.0 */
/* Tags for the programs of the benches, which run with the shim loaded and without it. */
#ifndef MFS_BENCH_UCX_TAG_H
#define MFS_BENCH_UCX_TAG_H

/* What this thread posts from now on belongs to a request that is due in so many seconds.
 * NULL: to none. Does nothing where the library is not loaded. */
void tagged(const char *request, double due_s);
/* What this thread posts from now on is of that layer of the request it was tagged with last. */
void tagged_layer(unsigned layer);
/* The request is over. While another process is stopped with the segment's lock it stays; it is
 * gone with this process at the latest. */
void tagged_drop(const char *request);

#endif
