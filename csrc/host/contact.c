/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TRUST: Any word may be anything (core/trust.h). A process frees what says that it is its own and
 * is not, and enters anew what somebody has written over. The worst that rubbish does is an address
 * that the agent asks at in vain.
 */
#include "host/contact.h"

#include <errno.h>
#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"

#define WORD "connections"

/* --- who wants it --- */

/* MFS_PEERS has the word between its commas, or with a network behind it. */
static bool configured(const char *peers)
{
    const size_t length = strlen(WORD);

    while (*peers) {
        peers += strspn(peers, ", ");
        if (strncmp(peers, WORD, length) == 0 && strchr(",: ", peers[length]))
            return true; /* strchr() finds the end of the text as well */
        peers += strcspn(peers, ",");
    }
    return false;
}

bool mfs_contacts_wanted(struct mfs_host *host)
{
    return configured(mfs_config_get()->peers) ||
           (mfs_get(&host->segment->contacts.wanted) != 0 &&
            mfs_far_attended(&host->segment->far, mfs_now_ns()));
}

/* --- telling --- */

/* Is the cell this teller's to keep or to free? So is one of its process's that no teller has. */
static bool cell_is(const struct mfs_contact_cell *cell, uint32_t owner, uint32_t teller)
{
    const uint32_t told = mfs_get(&cell->teller);

    return mfs_see(&cell->owner) == owner &&
           (told == teller || (told != MFS_CONTACT_UCX && told != MFS_CONTACT_NCCL));
}

static void ip_read(const struct mfs_contact_cell *cell, uint8_t ip[16])
{
    for (int i = 0; i < 2; i++) {
        const uint64_t word = mfs_get(&cell->ip[i]);

        memcpy(ip + 8 * i, &word, sizeof(word));
    }
}

static void cell_write(struct mfs_contact_cell *cell, uint32_t owner, uint32_t teller,
                       const uint8_t ip[16])
{
    for (int i = 0; i < 2; i++) {
        uint64_t word;

        memcpy(&word, ip + 8 * i, sizeof(word));
        mfs_set(&cell->ip[i], word);
    }
    mfs_set(&cell->teller, teller);
    mfs_publish(&cell->owner, owner);
}

/* The first of that address; count: none. */
static uint32_t place_of(const struct mfs_contact *contacts, uint32_t count, const uint8_t ip[16])
{
    uint32_t at = 0;

    while (at < count && memcmp(contacts[at].ip, ip, sizeof(contacts[at].ip)) != 0)
        at++;
    return at;
}

/* Those of the table that are told still; the rest of what is ours is free. */
static bool ours_keep(struct mfs_host *host, uint32_t teller, const struct mfs_contact *contacts,
                      uint32_t count, bool *there)
{
    struct mfs_contact_table *table = &host->segment->contacts;
    bool changed = false;

    for (uint32_t i = 0; i < MFS_CONTACTS_MAX; i++) {
        struct mfs_contact_cell *cell = &table->cells[i];
        uint8_t ip[16];
        uint32_t at;

        if (!cell_is(cell, host->process + 1, teller))
            continue;
        ip_read(cell, ip);
        at = place_of(contacts, count, ip);
        if (at < count && !there[at] && mfs_get(&cell->teller) == teller) {
            there[at] = true;
        } else {
            mfs_publish(&cell->owner, 0);
            changed = true;
        }
    }
    return changed;
}

/* Those that are not there yet; the lock is held. */
static int rest_enter(struct mfs_host *host, uint32_t teller, const struct mfs_contact *contacts,
                      uint32_t count, const bool *there)
{
    struct mfs_contact_table *table = &host->segment->contacts;
    uint32_t cell = 0;

    for (uint32_t at = 0; at < count; at++) {
        if (there[at] || place_of(contacts, at, contacts[at].ip) < at)
            continue;
        while (cell < MFS_CONTACTS_MAX && mfs_get(&table->cells[cell].owner))
            cell++;
        if (cell == MFS_CONTACTS_MAX)
            return -ENOSPC;
        cell_write(&table->cells[cell], host->process + 1, teller, contacts[at].ip);
    }
    return 0;
}

static bool all_there(const struct mfs_contact *contacts, uint32_t count, const bool *there)
{
    for (uint32_t at = 0; at < count; at++) {
        if (!there[at] && place_of(contacts, at, contacts[at].ip) == at)
            return false;
    }
    return true;
}

int mfs_contacts_tell(struct mfs_host *host, uint32_t teller, const struct mfs_contact *contacts,
                      uint32_t count)
{
    bool there[MFS_CONTACTS_OF_ONE] = {false};
    bool changed;
    int error = 0;

    if (count > MFS_CONTACTS_OF_ONE)
        return -EINVAL;
    changed = ours_keep(host, teller, contacts, count, there);
    if (!all_there(contacts, count, there)) {
        error = mfs_segment_trylock(host);
        if (!error) {
            changed = true;
            error = rest_enter(host, teller, contacts, count, there);
            mfs_segment_unlock(host);
        } else {
            error = -EAGAIN;
        }
    }
    if (changed)
        mfs_bump(&host->segment->contacts.version, 1);
    return error;
}

/* --- reading --- */

void mfs_contacts_want(struct mfs_host *host, bool wanted)
{
    mfs_set(&host->segment->contacts.wanted, wanted);
    if (!wanted)
        return;
    mfs_process_reap(host);
    (void)mfs_contacts_tell(host, MFS_CONTACT_UCX, NULL, 0); /* what rubbish says is ours */
}

uint64_t mfs_contacts_version(struct mfs_host *host)
{
    return mfs_see(&host->segment->contacts.version);
}

uint32_t mfs_contacts(struct mfs_host *host, struct mfs_contact *contacts, uint32_t room)
{
    const struct mfs_contact_table *table = &host->segment->contacts;
    uint32_t count = 0;

    for (uint32_t i = 0; i < MFS_CONTACTS_MAX && count < room; i++) {
        const struct mfs_contact_cell *cell = &table->cells[i];
        const uint32_t owner = mfs_see(&cell->owner);

        if (owner == 0 || owner > MFS_PROCESSES_MAX)
            continue;
        ip_read(cell, contacts[count].ip);
        contacts[count++].teller = mfs_get(&cell->teller);
    }
    return count;
}

/* --- the dead --- */

void mfs_contacts_reap(struct mfs_contact_table *table, const struct mfs_living *living)
{
    bool changed = false;

    if (mfs_get(&table->version) == 0)
        return; /* nobody has ever told anything */
    for (uint32_t i = 0; i < MFS_CONTACTS_MAX; i++) {
        const uint32_t owner = mfs_get(&table->cells[i].owner);

        if (owner && !mfs_living_owner(living, owner)) {
            mfs_publish(&table->cells[i].owner, 0);
            changed = true;
        }
    }
    if (changed)
        mfs_bump(&table->version, 1);
}
