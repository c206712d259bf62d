/* SPDX-License-Identifier: Apache-2.0 */
/* finalize over RDMA, where what is sent to a peer that has ended comes back late, or by force. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

static void close_side(struct side *side)
{
    NEED(net->dereg(side->recv, side->recv_mr) == 0);
    NEED(net->dereg(side->send, side->send_mr) == 0);
    NEED(net->close_recv(side->recv) == 0);
    NEED(net->close_send(side->send) == 0);
    NEED(net->close_listen(side->listener) == 0);
}

static void finalize_side(struct side *side)
{
    NEED(net->finalize(side->ctx) == 0);
    free(side->in - GUARD_BYTES);
    free(side->out - GUARD_BYTES);
}

/* The other one has ended while we finalize: known by its socket, and closed by force. */
static void peer_has_ended(void)
{
    struct side sides[2];

    sides_open(sides);
    NEED(sides_connect(sides));
    close_side(&sides[0]);
    close_side(&sides[1]);
    finalize_side(&sides[0]);
    hooks->log[0] = '\0';
    hooks->silent = true;
    finalize_side(&sides[1]);
    hooks->silent = false;
    NEED(!strstr(infos, "did not close in time"));
    if (strcmp(hooks->log, "flush close! ") != 0)
        DIE("%s", hooks->log);
}

/* The other one lives: gently. */
static void peer_lives(void)
{
    struct side sides[2];

    sides_open(sides);
    NEED(sides_connect(sides));
    close_side(&sides[0]);
    close_side(&sides[1]);
    hooks->log[0] = '\0';
    finalize_side(&sides[0]);
    if (strcmp(hooks->log, "flush close ") != 0)
        DIE("%s", hooks->log);
    finalize_side(&sides[1]);
}

/* Aborted, with puts that UCX does not end by itself. */
static void abandoned(void)
{
    struct side sides[2];
    void *sent = NULL, *received = NULL, *data;
    size_t bytes = 300000;
    int tag = 0, done;

    sides_open(sides);
    NEED(sides_connect(sides));
    data = sides[1].in;
    NEED(net->irecv(sides[1].recv, 1, &data, &bytes, &tag, &sides[1].recv_mr, NULL, &received) ==
         0);
    NEED(net->test(received, &done, NULL) == 0 && !done); /* its grant is on its way */
    hooks->hold = true;
    NEED(net->isend(sides[0].send, sides[0].out, bytes, 0, sides[0].send_mr, NULL, &sent) == 0);
    NEED(net->test(sent, &done, NULL) == 0 && !done);
    hooks->silent = true;
    finalize_side(&sides[0]);
    hooks->silent = hooks->hold = false;
    NEED(strstr(hooks->log, "close!"));
    NEED(!strstr(warnings, "UCX did not give back"));
    finalize_side(&sides[1]);
}

void endings(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"the peer has ended", peer_has_ended},
        {"the peer lives", peer_lives},
        {"abandoned", abandoned},
    };

    hooks->rdma = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin("endings: %s", cases[i].name);
        cases[i].run();
        printf("%s\n", cases[i].name);
    }
}
