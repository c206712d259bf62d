/* SPDX-License-Identifier: Apache-2.0 */
#include "host/warned.h"

#include <string.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/name.h"
#include "host/attach.h"

#define OTHERS UINT64_MAX /* the kind of the last cell */

static struct mfs_warned_cell *cell_of(struct mfs_segment *segment, uint64_t kind)
{
    const uint32_t others = MFS_WARNED_MAX - 1;

    for (uint32_t i = 0; i < others; i++) {
        const uint32_t at = (uint32_t)((kind + i) % others);
        uint64_t found = mfs_see(&segment->warned[at].kind);

        if (found == 0 && mfs_replace(&segment->warned[at].kind, &found, kind))
            return &segment->warned[at];
        if (found == kind)
            return &segment->warned[at];
    }
    mfs_set(&segment->warned[others].kind, OTHERS);
    return &segment->warned[others];
}

static void text_write(struct mfs_warned_cell *cell, const char *text)
{
    uint64_t words[MFS_WARNED_WORDS] = {0};
    uint32_t sequence = mfs_get(&cell->sequence);

    if (sequence & 1 || !mfs_replace(&cell->sequence, &sequence, sequence + 1))
        return; /* another one writes, or has died there: its words do as well */
    mfs_fence_release();
    mfs_name_clean((char *)words, sizeof(words), text, strlen(text));
    for (size_t i = 0; i < MFS_WARNED_WORDS; i++)
        mfs_set(&cell->text[i], words[i]);
    mfs_set(&cell->pid, getpid());
    mfs_publish(&cell->sequence, sequence + 2);
}

void mfs_warned_note(struct mfs_host *host, const char *kind, const char *text)
{
    struct mfs_warned_cell *cell;
    int64_t none = 0;

    if (!host)
        return;
    cell = cell_of(host->segment, mfs_request_key(kind));
    mfs_set(&cell->last_ns, mfs_now_ns());
    (void)mfs_replace(&cell->first_ns, &none, mfs_get(&cell->last_ns));
    text_write(cell, text);
    mfs_bump(&cell->count, 1);
}

bool mfs_warned_read(const struct mfs_segment *segment, uint32_t index, struct mfs_warned *warned)
{
    const struct mfs_warned_cell *cell = &segment->warned[index];
    uint64_t words[MFS_WARNED_WORDS];

    if (mfs_see(&cell->kind) == 0 || mfs_see(&cell->count) == 0)
        return false;
    for (size_t i = 0; i < MFS_WARNED_WORDS; i++)
        words[i] = mfs_get(&cell->text[i]);
    mfs_name_clean(warned->text, sizeof(warned->text), (const char *)words, sizeof(words));
    warned->count = mfs_get(&cell->count);
    warned->first_ns = mfs_get(&cell->first_ns);
    warned->last_ns = mfs_get(&cell->last_ns);
    warned->pid = mfs_get(&cell->pid);
    return true;
}
