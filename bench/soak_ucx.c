/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender and its receivers, processes of bench/soak.py and bench/chaos.py, over UCX:
 *
 *   soak_ucx ACCOUNTS SLOT SECONDS SEED PAUSE_S RECEIVERS
 *
 * To each of its 1 or 2 receivers the sender posts bursts of puts, gets and tagged messages, with
 * pauses of PAUSE_S on average. Before a burst it tells the receiver over a socket what will come;
 * behind its flush, what has been said to be complete; the receiver then looks at every byte. The
 * accounts of receiver i are SLOT + 2i, of what is sent to it, and SLOT + 2i + 1, its own.
 *
 * SOAK_NETNS and SOAK_SEGMENTS: each receiver's network namespace and segment, with commas.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "soak_ucx.h"

#define IDLE_US 50 /* between two looks at a transport that has nothing */
#define RECEIVERS_MAX 2

static ucp_context_h context;
ucp_worker_h soak_worker;
static const ucp_request_param_t no_param;

void soak_progress(void)
{
    if (ucp_worker_progress(soak_worker) == 0)
        usleep(IDLE_US);
}

bool soak_tell(int peer, const void *data, size_t bytes)
{
    return send(peer, data, bytes, MSG_NOSIGNAL) == (ssize_t)bytes;
}

bool soak_said(int peer, int timeout_ms)
{
    struct pollfd input = {.fd = peer, .events = POLLIN};

    return poll(&input, 1, timeout_ms) > 0;
}

bool soak_hear(int peer, void *data, size_t bytes)
{
    return recv(peer, data, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

char *soak_side_open(struct card *card, unsigned count)
{
    const ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_FEATURES,
        .features = UCP_FEATURE_RMA | UCP_FEATURE_TAG,
    };
    const ucp_worker_params_t worker_params = {0};
    const ucp_mem_map_params_t map = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_FLAGS,
        .length = (size_t)count * SOAK_MEMORY,
        .flags = UCP_MEM_MAP_ALLOCATE,
    };
    ucp_mem_attr_t attributes = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};
    ucp_address_t *address;
    void *rkey;
    ucp_mem_h memh;

    UCX(ucp_init(&params, NULL, &context));
    UCX(ucp_worker_create(context, &worker_params, &soak_worker));
    UCX(ucp_mem_map(context, &map, &memh));
    UCX(ucp_mem_query(memh, &attributes));
    /* all of it is there from the start: growth is a leak */
    memset(attributes.address, 0, map.length);
    UCX(ucp_worker_get_address(soak_worker, &address, &card->address_bytes));
    UCX(ucp_rkey_pack(context, memh, &rkey, &card->rkey_bytes));
    if (card->address_bytes > CARD_BYTES || card->rkey_bytes > CARD_BYTES)
        UCX(UCS_ERR_BUFFER_TOO_SMALL);
    card->memory = (uint64_t)(uintptr_t)attributes.address;
    memcpy(card->address, address, card->address_bytes);
    memcpy(card->rkey, rkey, card->rkey_bytes);
    return attributes.address;
}

void soak_side_close(void)
{
    ucp_worker_destroy(soak_worker);
    ucp_cleanup(context);
    exit(0);
}

/* --- receiver --- */

static bool burst_receive(int peer, char *memory, struct burst *burst, struct soak_account *account)
{
    ucs_status_ptr_t messages[SOAK_BURST] = {NULL};
    struct verdict verdict = {0};

    for (unsigned i = 0; i < burst->count; i++) {
        const struct order *order = &burst->orders[i];
        char *at = memory + order->part.offset;

        if (order->kind == 'g')
            soak_fill(at, order->part.bytes, order->part.seed);
        if (order->kind == 't')
            messages[i] = ucp_tag_recv_nbx(soak_worker, at, order->part.bytes, order->tag,
                                           UINT64_MAX, &no_param);
    }
    if (!soak_tell(peer, "r", 1))
        return false;
    while (!soak_said(peer, 0))
        soak_progress();
    if (!soak_hear(peer, burst, sizeof(*burst)))
        return false;
    for (unsigned i = 0; i < burst->count; i++) {
        const struct soak_part *part = &burst->orders[i].part;
        size_t wrong;

        if (!burst->orders[i].completed || burst->orders[i].kind == 'g')
            continue;
        while (UCS_PTR_IS_PTR(messages[i]) &&
               ucp_request_check_status(messages[i]) == UCS_INPROGRESS)
            soak_progress();
        wrong = soak_differs(memory + part->offset, part->bytes, part->seed);
        if (UCS_PTR_IS_PTR(messages[i]))
            ucp_request_free(messages[i]);
        verdict.wrong_bytes += wrong;
        verdict.verified_bytes += part->bytes - wrong;
    }
    soak_add(&account->verified_bytes, verdict.verified_bytes);
    soak_add(&account->wrong_bytes, verdict.wrong_bytes);
    soak_add(&account->bursts, 1);
    return soak_tell(peer, &verdict, sizeof(verdict));
}

/* Between bursts it sleeps, but while the sender connects or closes. */
static __attribute__((noreturn)) void receiver(int peer, struct soak_account *account)
{
    struct card card;
    struct burst burst;
    char *memory = soak_side_open(&card, 1);
    char what;

    (void)soak_tell(peer, &card, sizeof(card));
    while (soak_said(peer, -1) && soak_hear(peer, &what, 1)) {
        if (what == 'c') {
            while (!soak_said(peer, 0))
                soak_progress();
            if (!soak_hear(peer, &what, 1))
                break;
            soak_add(&account->connections, 1);
        } else if (!soak_hear(peer, &burst, sizeof(burst)) ||
                   !burst_receive(peer, memory, &burst, account)) {
            break;
        }
    }
    atomic_store(&account->over, 1);
    soak_side_close();
}

/* Entry i of a list with commas in the environment; NULL: none. */
static char *entry_of(const char *name, unsigned i, char *text, size_t size)
{
    const char *at = getenv(name);

    for (; at && i > 0; i--) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    if (at)
        snprintf(text, size, "%.*s", (int)strcspn(at, ","), at);
    return at ? text : NULL;
}

/* Start it; the socket to it. */
static int receiver_start(unsigned i, const char *accounts, unsigned slot)
{
    char text[256], path[300];
    int fds[2], netns;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        perror("soak_ucx");
        exit(1);
    }
    if (fork() != 0) {
        close(fds[1]);
        return fds[0];
    }
    close(fds[0]); /* when the sender has gone, the socket ends */
    if (entry_of("SOAK_NETNS", i, text, sizeof(text))) {
        snprintf(path, sizeof(path), "/run/netns/%s", text);
        netns = open(path, O_RDONLY | O_CLOEXEC);
        if (netns < 0 || setns(netns, CLONE_NEWNET) != 0) {
            perror(path);
            exit(1);
        }
        close(netns);
    }
    if (entry_of("SOAK_SEGMENTS", i, text, sizeof(text)))
        setenv("MFS_SEGMENT", text, 1);
    receiver(fds[1], soak_account(accounts, slot + 2 * i + 1));
}

int main(int argc, char **argv)
{
    const unsigned count = argc == 7 ? (unsigned)strtoul(argv[6], NULL, 10) : 0;
    struct soak_plan plan;
    int peers[RECEIVERS_MAX];

    if (count < 1 || count > RECEIVERS_MAX) {
        fputs("usage: soak_ucx ACCOUNTS SLOT SECONDS SEED PAUSE_S 1|2\n", stderr);
        return 2;
    }
    plan = (struct soak_plan){
        .accounts = argv[1],
        .slot = (unsigned)strtoul(argv[2], NULL, 10),
        .seconds = strtod(argv[3], NULL),
        .seed = strtoull(argv[4], NULL, 10),
        .pause_s = strtod(argv[5], NULL),
    };
    for (unsigned i = 0; i < count; i++)
        peers[i] = receiver_start(i, plan.accounts, plan.slot);
    soak_send(&plan, peers, count);
}
