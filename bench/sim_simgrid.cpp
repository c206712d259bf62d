// SPDX-License-Identifier: Apache-2.0
// The flows of standard input through SimGrid, for bench/sim_simgrid.py.
//
//   in    hosts, bandwidth, flows; then for each flow: start, from, to, bytes
//   out   seconds of the simulation alone; then for each flow its finish time
//
// Every host has a link up and a link down of that bandwidth, no latency, plain max-min.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <simgrid/s4u.hpp>

namespace sg4 = simgrid::s4u;

struct Flow {
    double start, bytes;
    int from, to;
};

int main(int argc, char **argv)
{
    sg4::Engine engine(&argc, argv);
    int hosts, count;
    double bandwidth;

    if (std::scanf("%d %lf %d", &hosts, &bandwidth, &count) != 3)
        return 1;
    std::vector<Flow> flows(count);
    for (auto &flow : flows) {
        if (std::scanf("%lf %d %d %lf", &flow.start, &flow.from, &flow.to, &flow.bytes) != 4)
            return 1;
    }
    auto *zone = sg4::create_star_zone("cluster");
    std::vector<sg4::Host *> machines;
    for (int i = 0; i < hosts; i++) {
        const std::string name = "h" + std::to_string(i);
        auto *host = zone->create_host(name, 1e9);
        auto *up = zone->create_link(name + "-up", bandwidth)->set_latency(0)->seal();
        auto *down = zone->create_link(name + "-down", bandwidth)->set_latency(0)->seal();

        zone->add_route(host->get_netpoint(), nullptr, nullptr, nullptr,
                        {sg4::LinkInRoute(up)}, false);
        zone->add_route(nullptr, host->get_netpoint(), nullptr, nullptr,
                        {sg4::LinkInRoute(down)}, false);
        machines.push_back(host);
    }
    zone->seal();
    std::vector<sg4::CommPtr> comms(count);
    sg4::Actor::create("source", machines[0], [&]() {
        for (int i = 0; i < count; i++) {
            sg4::this_actor::sleep_until(flows[i].start);
            comms[i] = sg4::Comm::sendto_init(machines[flows[i].from], machines[flows[i].to]);
            comms[i]->set_payload_size(flows[i].bytes);
            comms[i]->start();
        }
        for (auto &comm : comms)
            comm->wait();
    });
    const auto begin = std::chrono::steady_clock::now();
    engine.run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::printf("%.6f\n", took.count());
    for (auto &comm : comms)
        std::printf("%.12g\n", comm->get_finish_time());
    return 0;
}
