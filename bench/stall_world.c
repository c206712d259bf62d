/* SPDX-License-Identifier: Apache-2.0 */
#include "stall_world.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

enum { WORD_LOADED, WORD_AILS, WORD_OTHER_READY, WORD_SICK_DONE };

#define PAUSE_US 20 /* of a rank whose transport has nothing: fewer cores than ranks */

static void pause_unless(bool moved)
{
    if (!moved)
        usleep(PAUSE_US);
}

bool load_has(const struct load *load, int receiver)
{
    const bool sick = receiver == SICK;

    return load->world->rank == OTHER ? sick : !(sick && load->other);
}

/* The next order; 0: none. The bench's end is ours. */
static char order(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char letter = 0;

    if (poll(&input, 1, 0) == 0)
        return 0;
    if (read(STDIN_FILENO, &letter, 1) != 1)
        _exit(0);
    return letter;
}

static void other_send(struct load *load)
{
    _Atomic uint64_t *words = load->world->board->words;

    atomic_store(&words[WORD_OTHER_READY], 1);
    for (;;) {
        pause_unless(load->step(load, atomic_load(&words[WORD_LOADED])));
        atomic_store(&words[WORD_SICK_DONE], load->sick_done);
    }
}

void load_send(struct load *load)
{
    _Atomic uint64_t *words = load->world->board->words;
    uint64_t healthy = 0, sick = 0;
    double marked_s = 0;
    char letter;

    load->connect(load);
    if (load->world->rank == OTHER)
        other_send(load);
    while (load->other && !atomic_load(&words[WORD_OTHER_READY]))
        pause_unless(load->step(load, false));
    puts("ok");
    for (;;) {
        fflush(stdout);
        for (letter = order(); !letter; letter = order())
            pause_unless(load->step(load, atomic_load(&words[WORD_LOADED])));
        if (load->other)
            load->sick_done = atomic_load(&words[WORD_SICK_DONE]);
        switch (letter) {
        case 'u':
            printf("%.9g\n", load->urgent(load));
            continue;
        case 'r':
            printf("%.9g %.9g %.9g\n", world_now_s() - marked_s,
                   (double)(load->healthy_done - healthy), (double)(load->sick_done - sick));
            continue;
        case 'l':
            atomic_store(&words[WORD_LOADED], 1);
            break;
        case 'm':
            marked_s = world_now_s();
            healthy = load->healthy_done;
            sick = load->sick_done;
            break;
        default:
            atomic_store(&words[WORD_AILS], (uint64_t)letter);
        }
        puts("ok");
    }
}

void load_receive(struct load *load, bool (*receive)(struct load *load))
{
    const _Atomic uint64_t *ails = &load->world->board->words[WORD_AILS];

    load->connect(load);
    for (;;) {
        pause_unless(receive(load));
        if (load->world->rank != SICK || !atomic_load(ails))
            continue;
        if (atomic_load(ails) == 's')
            raise(SIGSTOP);
        pause();
    }
}
