/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/device.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/host.h"
#include "host/port.h"
#include "nccl/log.h"

static pthread_mutex_t devices_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mfs_nccl_device devices[MFS_NCCL_DEVICES_MAX];
static int devices_count;
static unsigned devices_refs;
static struct mfs_nccl_class classes[MFS_NCCL_CLASSES_MAX] = {{0, -1}};
static unsigned classes_count = 1;

/* --- what the configuration says --- */

/* Rows "level:class", levels ascending from 0. A list that is none leaves UCX's one class. */
static void classes_parse(void)
{
    const char *text = mfs_config_get()->nccl_classes, *at = text;
    unsigned count = 0;

    classes[0] = (struct mfs_nccl_class){0, -1};
    classes_count = 1;
    while (*at) {
        char *end, *last;
        const unsigned long level = strtoul(at, &end, 10);
        const long number = *end == ':' ? strtol(end + 1, &last, 10) : -1;

        if (end == at || *end != ':' || last == end + 1 || (*last && *last != ',') || number < 0 ||
            number > 255 || level >= MFS_LEVELS_MAX || count == MFS_NCCL_CLASSES_MAX ||
            (count == 0 ? level != 0 : level <= classes[count - 1].level)) {
            mfs_nccl_warn("MFS_NCCL_CLASSES=%s: up to %d of level:class with levels that ascend "
                          "from 0 and classes up to 255, as 0:106,2:34; all travels in UCX's "
                          "one class",
                          text, MFS_NCCL_CLASSES_MAX);
            classes[0] = (struct mfs_nccl_class){0, -1};
            return;
        }
        classes[count++] = (struct mfs_nccl_class){(uint32_t)level, (int)number};
        at = *last ? last + 1 : last;
    }
    classes_count = count > 0 ? count : 1;
}

unsigned mfs_nccl_classes(const struct mfs_nccl_class **out)
{
    if (out)
        *out = classes;
    return classes_count;
}

unsigned mfs_nccl_class_of(unsigned level)
{
    unsigned klass = 0;

    while (klass + 1 < classes_count && level >= classes[klass + 1].level)
        klass++;
    return klass;
}

static bool inside_gate;

void mfs_nccl_inside_gate(void)
{
    inside_gate = true;
}

bool mfs_nccl_enabled(void)
{
    const char *enable = getenv("MFS_ENABLE"); /* unset: being loaded is enough */

    return !inside_gate && (!enable || !*enable || mfs_config_get()->enable);
}

bool mfs_nccl_scheduled(void)
{
    struct mfs_host *host = mfs_nccl_enabled() ? mfs_host_get() : NULL;

    return host && mfs_host_policy(host)->defers;
}

/* --- devices --- */

/* Where the device lies in /sys; "" for a virtual one. */
static void pci_path(struct mfs_nccl_device *device)
{
    static const char *const kinds[] = {"infiniband", "net"};
    char name[64], link[160], path[PATH_MAX];

    snprintf(name, sizeof(name), "%s", *device->name ? device->name : device->port);
    name[strcspn(name, ":")] = '\0';
    for (int i = 0; i < 2 && *name && !strchr(name, '/'); i++) {
        snprintf(link, sizeof(link), "/sys/class/%s/%s/device", kinds[i], name);
        if (realpath(link, path) && strlen(path) < sizeof(device->pci_path)) {
            strcpy(device->pci_path, path);
            return;
        }
    }
}

/* "mlx5_0:1" sends through the port mlx5_0, as `mfs run --set MFS_PORT=mlx5_0` names it. */
static void device_init(struct mfs_nccl_device *device, int index, const char *name, size_t length)
{
    char text[sizeof(device->name)] = "";

    memset(device, 0, sizeof(*device));
    memcpy(text, name, length < sizeof(text) ? length : sizeof(text) - 1);
    memcpy(device->name, text, sizeof(text));
    if (length > 0) {
        snprintf(device->title, sizeof(device->title), "mfs-%s", text);
        snprintf(device->port, sizeof(device->port), "%.*s", (int)strcspn(text, ":"), text);
    } else {
        snprintf(device->title, sizeof(device->title), "mfs%d", index);
        mfs_port_own(device->port);
    }
    pci_path(device);
}

static void devices_parse(void)
{
    const char *at = mfs_config_get()->nccl_devices;

    devices_count = 0;
    while (*at && devices_count < MFS_NCCL_DEVICES_MAX) {
        const size_t length = strcspn(at, ",");

        if (length > 0)
            device_init(&devices[devices_count], devices_count, at, length);
        devices_count += length > 0;
        at += length + (at[length] == ',');
    }
    if (devices_count == 0)
        device_init(&devices[devices_count++], 0, "", 0);
}

/* --- contexts --- */

static void modify(const struct mfs_nccl_ucx *ucx, ucp_config_t *config, const char *name,
                   const char *value)
{
    const ucs_status_t status = ucx->ucp_config_modify(config, name, value);

    if (status != UCS_OK)
        mfs_nccl_warn("UCX does not take %s=%s: %s", name, value, ucx->ucs_status_string(status));
}

/* What UCX tells only as a text has one of these in it. Nobody knows: yes. */
static bool told(const struct mfs_nccl_ucx *ucx, ucp_context_h context, const ucp_config_t *config,
                 const char *const *words)
{
    char *text = NULL;
    size_t size = 0;
    bool found = false;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return true;
    if (context)
        ucx->ucp_context_print_info(context, stream);
    else
        ucx->ucp_config_print(config, stream, NULL, UCS_CONFIG_PRINT_CONFIG);
    if (fclose(stream) != 0)
        return true;
    for (; *words && !found; words++)
        found = strstr(text, *words) != NULL;
    free(text);
    return found;
}

static ucs_status_t context_open(const struct mfs_nccl_ucx *ucx, struct mfs_nccl_device *device,
                                 unsigned klass)
{
    const ucp_params_t params = {
        .field_mask =
            UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED | UCP_PARAM_FIELD_NAME,
        .features = UCP_FEATURE_RMA | UCP_FEATURE_AM,
        .mt_workers_shared = 1,
        .name = "mfs-nccl",
    };
    static const char *const old_protocols[] = {"UCX_PROTO_ENABLE=n", NULL};
    ucp_config_t *config;
    char number[16];
    ucs_status_t status = ucx->ucp_config_read(NULL, NULL, &config);

    if (status != UCS_OK)
        return status;
    if (*device->name)
        modify(ucx, config, "NET_DEVICES", device->name);
    if (classes[klass].traffic_class >= 0) {
        snprintf(number, sizeof(number), "%d", classes[klass].traffic_class);
        modify(ucx, config, "IB_TRAFFIC_CLASS", number);
    }
    device->emulates = told(ucx, NULL, config, old_protocols);
    status = ucx->ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config,
                                   &device->contexts[klass]);
    ucx->ucp_config_release(config);
    return status;
}

static void contexts_close(const struct mfs_nccl_ucx *ucx)
{
    for (int dev = 0; dev < devices_count; dev++) {
        for (unsigned klass = 0; klass < MFS_NCCL_CLASSES_MAX; klass++) {
            if (devices[dev].contexts[klass])
                ucx->ucp_cleanup(devices[dev].contexts[klass]);
            devices[dev].contexts[klass] = NULL;
        }
    }
}

static int contexts_open(const struct mfs_nccl_ucx *ucx)
{
    /* as "... -- rc_mlx5/mlx5_0:1" */
    static const char *const rdma[] = {" rc_", " dc_", " ud_", " srd/", " gga", NULL};

    for (int dev = 0; dev < devices_count; dev++) {
        ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};

        for (unsigned klass = 0; klass < classes_count; klass++) {
            const ucs_status_t status = context_open(ucx, &devices[dev], klass);

            if (status != UCS_OK) {
                devices[dev].contexts[klass] = NULL;
                mfs_nccl_warn("UCX (%s) cannot use %s: %s. Look at UCX_TLS, UCX_NET_DEVICES and "
                              "MFS_NCCL_DEVICES",
                              ucx->path, *devices[dev].name ? devices[dev].name : "any device",
                              ucx->ucs_status_string(status));
                contexts_close(ucx);
                return -ENODEV;
            }
        }
        devices[dev].rdma = told(ucx, devices[dev].contexts[0], NULL, rdma);
        devices[dev].emulates |= devices[dev].rdma; /* with UCX's error handling (peer.c) */
        devices[dev].cuda =
            ucx->ucp_context_query(devices[dev].contexts[0], &attributes) == UCS_OK &&
            (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA));
    }
    return 0;
}

int mfs_nccl_devices_open(void)
{
    const struct mfs_nccl_ucx *ucx = mfs_nccl_ucx_get();
    int error = 0;

    if (!ucx)
        return -ENOENT;
    pthread_mutex_lock(&devices_mutex);
    if (devices_count == 0) {
        classes_parse();
        devices_parse();
    }
    if (devices_refs == 0)
        error = contexts_open(ucx);
    if (!error)
        devices_refs++;
    pthread_mutex_unlock(&devices_mutex);
    return error;
}

void mfs_nccl_devices_close(void)
{
    pthread_mutex_lock(&devices_mutex);
    if (devices_refs > 0 && --devices_refs == 0)
        contexts_close(mfs_nccl_ucx_get());
    pthread_mutex_unlock(&devices_mutex);
}

int mfs_nccl_devices_count(void)
{
    return devices_count;
}

struct mfs_nccl_device *mfs_nccl_device_at(int dev)
{
    return dev >= 0 && dev < devices_count ? &devices[dev] : NULL;
}

/* --- properties --- */

/* Mbit/s of the port as configured or as the system tells; 10 Gbit/s where nobody knows. */
static int speed_mbit(const struct mfs_nccl_device *device)
{
    struct mfs_host *host = mfs_host_get();
    struct mfs_port *port;
    uint64_t rate_Bps = 0;

    if (host && mfs_port_open(host, device->port, MFS_EGRESS, &port) == 0) {
        rate_Bps = mfs_port_rate_Bps(port);
        mfs_port_close(port);
    }
    return rate_Bps >= 125000 ? (int)(rate_Bps / 125000) : 10000;
}

void mfs_nccl_device_properties(int dev, struct mfs_nccl_properties_v12 *properties)
{
    struct mfs_nccl_device *device = &devices[dev];

    *properties = (struct mfs_nccl_properties_v12){
        .name = device->title,
        .pci_path = *device->pci_path ? device->pci_path : NULL,
        .guid = (uint64_t)dev,
        .ptr_support = MFS_NCCL_PTR_HOST | (device->cuda ? MFS_NCCL_PTR_CUDA : 0),
        .speed_mbit = speed_mbit(device),
        .port = 1,
        .latency_us = 0,
        .max_comms = 1024,
        .max_recvs = 1,
        .vdevice = {.ndevs = 1, .devs = {dev}},
        .max_p2p_bytes = (size_t)1 << 30,
        .max_coll_bytes = (size_t)1 << 30,
        .max_multi_request = 1,
        .rail = MFS_NCCL_UNDEFINED,
        .plane = MFS_NCCL_UNDEFINED,
    };
}
