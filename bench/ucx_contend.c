/* SPDX-License-Identifier: Apache-2.0 */
/* An urgent put beside others of the same process: OPERATION contend of ucx_loop.c. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ucx_side.h"
#include "ucx_tag.h"

#define FLOWS_MAX 64u

static struct {
    ucs_status_ptr_t requests[FLOWS_MAX];
    unsigned flows;
    size_t bytes;     /* of a put */
    uint64_t done; /* bytes, in all */
    bool ending;
} background;

static bool finished(ucs_status_ptr_t *request, const char *what)
{
    ucs_status_t status = UCS_PTR_STATUS(*request);

    if (UCS_PTR_IS_PTR(*request)) {
        status = ucp_request_check_status(*request);
        if (status == UCS_INPROGRESS)
            return false;
        ucp_request_free(*request);
        *request = NULL;
    }
    if (status != UCS_OK)
        die(what, status);
    return true;
}

/* Progress; a background put that is done is posted anew. */
static bool background_step(void)
{
    bool busy = false;

    progress();
    for (unsigned i = 0; i < background.flows; i++) {
        char name[32];

        if (background.requests[i] && !finished(&background.requests[i], "background")) {
            busy = true;
            continue;
        }
        if (background.ending)
            continue;
        snprintf(name, sizeof(name), "%d-background-%u", (int)getpid(), i);
        tagged(name, 60.0);
        background.requests[i] = post('p', background.bytes);
        tagged(NULL, 0);
        background.done += background.bytes;
        busy = true;
    }
    return busy;
}

/* Seconds until an urgent put has arrived, whatever else is under way. */
static double urgent(size_t bytes)
{
    const double start_s = now_s();
    ucs_status_ptr_t put, flush;
    char name[32];

    snprintf(name, sizeof(name), "%d-urgent", (int)getpid());
    tagged(name, 5.0); /* in time also on a machine that others use */
    put = post('p', bytes);
    flush = flush_post();
    tagged(NULL, 0);
    while (!finished(&flush, "flush"))
        (void)background_step();
    while (!finished(&put, "urgent"))
        (void)background_step();
    return now_s() - start_s;
}

/* Background alone for so long; bytes per second. */
static double background_for(double span_s)
{
    const double start_s = now_s();
    const uint64_t before = background.done;

    while (now_s() - start_s < span_s)
        (void)background_step();
    return (double)(background.done - before) / (now_s() - start_s);
}

void contend(size_t bytes, size_t background_bytes, unsigned flows, double span_s)
{
    double alone_s, contended_s, before_Bps, start_s, elapsed_s;
    uint64_t done;

    (void)urgent(bytes); /* warm up */
    alone_s = urgent(bytes);
    background.bytes = background_bytes;
    background.flows = flows < FLOWS_MAX ? flows : FLOWS_MAX;
    (void)background_for(span_s);
    before_Bps = background_for(span_s);
    start_s = now_s();
    done = background.done;
    contended_s = urgent(bytes);
    (void)background_for(span_s);
    elapsed_s = now_s() - start_s;
    done = background.done - done;
    printf("%.9g %.9g\n%.9g %.9g %.9g\n", alone_s, contended_s, before_Bps,
           (double)done / elapsed_s, (double)(done + bytes) / elapsed_s);
    background.ending = true;
    while (background_step())
        ;
    wait_for(flush_post(), "flush");
}
