// SPDX-License-Identifier: Apache-2.0
// One scene of bench/ns3.py in ns-3, packet by packet: hosts at a switch, TCP between them, and on
// each host the sender that ships (ns3_rule.h), or none.
//
//   in    case (pull, incast), variant (off, local, exchange, loss), TCP (a TypeId), seconds, rate of
//         a port in bytes/s, rate that senders know (0: none); incast: puts, and for each its sender,
//         time, bytes
//   out   "put NUMBER SECONDS" for each, of pull "alone" and "beside"; "reads BYTES_PER_S";
//         "stream BYTES_PER_S"; "capacity BYTES_PER_S" of the reads without the puts;
//         "datagrams BYTES_PER_S" of the busiest host
//
// A chunk of a put is a message, and over when the receiver's answer is there; a chunk of a get is a
// small message, and over when its bytes are there. Messages of two hosts share a connection each way
// and go one after the other, as UCX's over TCP do.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ns3/core-module.h>
#include <ns3/internet-module.h>
#include <ns3/network-module.h>
#include <ns3/point-to-point-module.h>
#include <ns3/traffic-control-module.h>

#include "ns3_rule.h"

using namespace ns3;

namespace
{

constexpr uint64_t MIB = 1 << 20;
constexpr uint64_t PUT_BYTES = 8 * MIB, READ_BYTES = 8 * MIB;
constexpr double PUT_EVERY_S = 0.2, FILLED_S = 1.5;
constexpr int READ_DEPTH = 4;
constexpr double URGENT_S = 0.05, LOOSE_S = 60.0;
constexpr uint32_t HEADER_BYTES = 32, DATAGRAM_BYTES = 400 - 42; // as in bench/hosts.py
constexpr int64_t LOOK_NS = 200000, TICK_NS = 1000000, SENDER_NS = 500000;
constexpr int64_t BEACON_NS = 7500000, CAREFUL_NS = 5000000, FRESH_NS = 4000000;
constexpr int64_t CLAIM_NS = 50000000, MOVED_NS = 1000000;
constexpr int64_t WAY_NS = 60000; // there and back, of a datagram at idle ports
constexpr uint32_t FEW = 3;       // peers with traffic: as csrc/host/agent_tell.c
constexpr uint16_t AGENT_PORT = 9655, FIRST_PORT = 5000;

enum Kind { PUT, DONE, GET, DATA };

struct Message {
    Kind kind;
    uint64_t transfer, bytes; // of the chunk
    uint64_t left;            // to be given to the socket, with its header
};

struct Transfer {
    uint32_t host, peer; // who asked for it
    bool get;
    uint64_t left;
    int64_t begun_ns;
    std::function<void(double)> over; // seconds that it took
};

struct Said { // a datagram
    uint32_t from;
    rule_claim claims[2]; // on the other's port that takes [0], that gives [1]
    uint32_t level[2];    // limits of our own ports
    int64_t span_ns[2];
    uint32_t sharers[2]; // hosts that have something for them
};

struct Way { // messages of one host to another
    uint32_t from, to;
    Ptr<Socket> socket;
    std::deque<Message> unsent, under_way;
    uint64_t came = 0, came_ever = 0;
};

struct Host {
    Ptr<Node> node;
    Ipv4Address address;
    rule *rules[2] = {nullptr, nullptr}; // of the port that takes [0] (gets), that gives [1] (puts)
    EventId looks[2];
    Ptr<Socket> agent;
    owner *owners[2] = {nullptr, nullptr};
    std::vector<Said> heard, told;
    std::vector<int64_t> heard_ns, told_ns;
    int64_t tick_ns = TICK_NS;
    uint64_t datagram_bytes = 0;
};

std::vector<Host> hosts;
std::map<std::pair<uint32_t, uint32_t>, std::unique_ptr<Way>> ways;
std::vector<Transfer> transfers;
std::string variant;
uint64_t port_Bps, known_Bps;
double lost = 0.0;
Ptr<UniformRandomVariable> chance;

int64_t now_ns()
{
    return Simulator::Now().GetNanoSeconds() + 1; // 0 is "never" to csrc/core
}

double now_s()
{
    return Simulator::Now().GetSeconds();
}

void at(double seconds, std::function<void()> what)
{
    Simulator::Schedule(Seconds(seconds), what);
}

// --- messages ---

void pump(Way *way)
{
    while (!way->unsent.empty()) {
        Message &message = way->unsent.front();
        const uint64_t room = way->socket->GetTxAvailable();
        const auto bytes = uint32_t(std::min<uint64_t>({room, message.left, 65536}));

        if (bytes == 0)
            return;
        const int sent = way->socket->Send(Create<Packet>(bytes));
        if (sent <= 0)
            return;
        message.left -= uint64_t(sent);
        if (message.left == 0) {
            way->under_way.push_back(message);
            way->unsent.pop_front();
        }
    }
}

uint64_t length(const Message &message)
{
    return HEADER_BYTES + (message.kind == PUT || message.kind == DATA ? message.bytes : 0);
}

void send(uint32_t from, uint32_t to, Kind kind, uint64_t transfer, uint64_t bytes)
{
    Way *way = ways.at({from, to}).get();
    Message message{kind, transfer, bytes, 0};

    message.left = length(message);
    way->unsent.push_back(message);
    pump(way);
}

// --- transfers ---

void kick(uint32_t number, int side)
{
    Host &host = hosts[number];
    rule_chunk chunk;

    if (!host.rules[side])
        return;
    while (rule_next(host.rules[side], now_ns(), &chunk))
        send(number, chunk.to, side == 0 ? GET : PUT, chunk.transfer, chunk.bytes);
    host.looks[side].Cancel();
    if (rule_restless(host.rules[side]))
        host.looks[side] = Simulator::Schedule(NanoSeconds(LOOK_NS), &kick, number, side);
}

void chunk_over(uint64_t number, uint64_t bytes)
{
    const uint32_t host = transfers[number].host;
    const int side = transfers[number].get ? 0 : 1;

    if (hosts[host].rules[side])
        rule_done(hosts[host].rules[side], transfers[number].peer, bytes, now_ns());
    transfers[number].left -= bytes;
    if (transfers[number].left == 0) {
        const auto over = transfers[number].over; // it may begin another transfer
        over(double(now_ns() - transfers[number].begun_ns) * 1e-9);
    }
    kick(host, side);
}

void begin(uint32_t host, uint32_t peer, bool get, uint64_t bytes, bool collective, double due_s,
           std::function<void(double)> over)
{
    const uint64_t number = transfers.size();
    const int side = get ? 0 : 1;

    transfers.push_back({host, peer, get, bytes, now_ns(), std::move(over)});
    if (variant == "off") {
        send(host, peer, get ? GET : PUT, number, bytes);
        return;
    }
    rule_push(hosts[host].rules[side], peer, number, bytes, collective,
              now_ns() + int64_t(due_s * 1e9), now_ns());
    kick(host, side);
}

void take(Way *way, const Message &message)
{
    switch (message.kind) {
    case PUT:
        send(way->to, way->from, DONE, message.transfer, message.bytes);
        break;
    case GET:
        send(way->to, way->from, DATA, message.transfer, message.bytes);
        break;
    case DONE:
    case DATA:
        chunk_over(message.transfer, message.bytes);
        break;
    }
}

void receive(Way *way, Ptr<Socket> socket)
{
    while (Ptr<Packet> packet = socket->Recv()) {
        way->came += packet->GetSize();
        way->came_ever += packet->GetSize();
    }
    while (!way->under_way.empty() && way->came >= length(way->under_way.front())) {
        const Message message = way->under_way.front();

        way->came -= length(message);
        way->under_way.pop_front();
        take(way, message);
    }
}

// --- agents: as csrc/host/agent_tell.c, in what decides ---

bool active(const rule_claim &claim)
{
    return claim.level != RULE_NO_LEVEL || claim.inflight_bytes > 0;
}

bool moved(uint32_t level, int64_t span_ns, uint32_t was_level, int64_t was_span_ns, int64_t age_ns)
{
    return level != was_level ||
           (level != RULE_NO_LEVEL && std::llabs(span_ns + age_ns - was_span_ns) > MOVED_NS);
}

// limited: by the one who is told
bool differ(const Said &now, const Said &told, bool limited, int64_t age_ns)
{
    for (int port = 0; port < 2; port++) {
        const rule_claim &claim = now.claims[port], &was = told.claims[port];

        if (active(claim) != active(was) ||
            (limited && age_ns >= FRESH_NS && claim.done_bytes != was.done_bytes) ||
            moved(claim.level, claim.span_ns, was.level, was.span_ns, age_ns) ||
            moved(now.level[port], now.span_ns[port], told.level[port], told.span_ns[port], age_ns))
            return true;
    }
    return false;
}

bool says(const Said &said)
{
    return active(said.claims[0]) || active(said.claims[1]) || said.level[0] != RULE_NO_LEVEL ||
           said.level[1] != RULE_NO_LEVEL || said.sharers[0] > 1 || said.sharers[1] > 1;
}

void tell(uint32_t number, uint32_t peer, const Said &said)
{
    Host &host = hosts[number];
    const int64_t age_ns = now_ns() - host.told_ns[peer];
    const Said &heard = host.heard[peer];
    const bool limited = heard.level[0] != RULE_NO_LEVEL || heard.level[1] != RULE_NO_LEVEL;

    if (!says(said) && !says(host.told[peer]))
        return;
    if (age_ns < (lost > 0 ? CAREFUL_NS : BEACON_NS) &&
        !differ(said, host.told[peer], limited, age_ns))
        return;
    host.told[peer] = said;
    host.told_ns[peer] = now_ns();
    host.datagram_bytes += DATAGRAM_BYTES + 42;
    if (chance->GetValue() < lost)
        return;
    uint8_t bytes[DATAGRAM_BYTES] = {0};
    static_assert(sizeof(Said) <= sizeof(bytes));
    std::memcpy(bytes, &said, sizeof(said));
    host.agent->SendTo(Create<Packet>(bytes, sizeof(bytes)), 0,
                       InetSocketAddress(hosts[peer].address, AGENT_PORT));
}

void told(uint32_t number, uint32_t peer, const Said &said)
{
    // what a peer's port that takes is to us is our puts' limit, and the other way round
    for (int port = 0; port < 2; port++)
        rule_told(hosts[number].rules[1 - port], peer, said.level[port], said.span_ns[port],
                  said.sharers[port], now_ns());
}

// A sender looks at what it was told.
void look(uint32_t number)
{
    for (auto *one : hosts[number].rules)
        rule_look(one, now_ns());
    kick(number, 0);
    kick(number, 1);
    Simulator::Schedule(NanoSeconds(SENDER_NS), &look, number);
}

void hear(uint32_t number, Ptr<Socket> socket)
{
    Host &host = hosts[number];

    while (Ptr<Packet> packet = socket->Recv()) {
        Said said;

        packet->CopyData(reinterpret_cast<uint8_t *>(&said), sizeof(said));
        host.heard[said.from] = said;
        host.heard_ns[said.from] = now_ns();
        for (auto &claim : host.heard[said.from].claims)
            claim.at_ns = now_ns(); // clocks are never compared
        told(number, said.from, said);
    }
}

void judge(uint32_t number, int port, uint32_t *level, int64_t *span_ns, uint32_t *sharers)
{
    Host &host = hosts[number];
    std::vector<rule_claim> claims;

    *level = RULE_NO_LEVEL;
    *span_ns = 0;
    for (uint32_t peer = 0; peer < hosts.size(); peer++) {
        if (now_ns() - host.heard_ns[peer] > CLAIM_NS || !active(host.heard[peer].claims[port]))
            continue;
        claims.push_back(host.heard[peer].claims[port]);
        claims.back().who = peer + 1;
    }
    *sharers = uint32_t(claims.size());
    rule_guest(host.rules[port], claims.data(), uint32_t(claims.size()), now_ns());
    if (claims.empty())
        return;
    rule_claim own;
    rule_claim_all(host.rules[port], now_ns(), &own);
    if (active(own))
        claims.push_back(own);
    owner_judge(host.owners[port], claims.data(), uint32_t(claims.size()), known_Bps, WAY_NS,
                host.tick_ns + SENDER_NS, now_ns(), level, span_ns);
}

void tick(uint32_t number)
{
    Host &host = hosts[number];
    uint32_t busy = 0, level[2], sharers[2];
    int64_t span_ns[2];

    for (int port = 0; port < 2; port++)
        judge(number, port, &level[port], &span_ns[port], &sharers[port]);
    for (uint32_t peer = 0; peer < hosts.size(); peer++) {
        Said said{};
        const bool fresh = now_ns() - host.heard_ns[peer] <= CLAIM_NS;

        if (peer == number)
            continue;
        said.from = number;
        rule_claim_to(host.rules[1], peer, now_ns(), &said.claims[0]);
        rule_claim_to(host.rules[0], peer, now_ns(), &said.claims[1]);
        for (int port = 0; port < 2; port++) {
            const bool wants = fresh && active(host.heard[peer].claims[port]);

            said.level[port] = wants ? level[port] : RULE_NO_LEVEL;
            said.span_ns[port] = wants ? span_ns[port] : 0;
            said.sharers[port] = wants ? sharers[port] : 0;
            busy += wants || active(said.claims[port]);
        }
        tell(number, peer, said);
    }
    host.tick_ns = busy > FEW ? 2 * TICK_NS : TICK_NS;
    Simulator::Schedule(NanoSeconds(host.tick_ns), &tick, number);
}

// --- the network ---

void way_open(uint32_t from, uint32_t to)
{
    auto made = std::make_unique<Way>();
    Way *way = made.get();
    const auto port = uint16_t(FIRST_PORT + from);
    auto listener = Socket::CreateSocket(hosts[to].node, TcpSocketFactory::GetTypeId());

    way->from = from;
    way->to = to;
    listener->Bind(InetSocketAddress(Ipv4Address::GetAny(), port));
    listener->Listen();
    listener->SetAcceptCallback(MakeNullCallback<bool, Ptr<Socket>, const Address &>(),
                                Callback<void, Ptr<Socket>, const Address &>(
                                    [way](Ptr<Socket> socket, const Address &) {
                                        socket->SetRecvCallback(Callback<void, Ptr<Socket>>(
                                            [way](Ptr<Socket> one) { receive(way, one); }));
                                    }));
    way->socket = Socket::CreateSocket(hosts[from].node, TcpSocketFactory::GetTypeId());
    way->socket->SetSendCallback(
        Callback<void, Ptr<Socket>, uint32_t>([way](Ptr<Socket>, uint32_t) { pump(way); }));
    way->socket->Bind();
    way->socket->Connect(InetSocketAddress(hosts[to].address, port));
    ways[{from, to}] = std::move(made);
}

void agent_open(uint32_t number)
{
    Host &host = hosts[number];

    host.agent = Socket::CreateSocket(host.node, UdpSocketFactory::GetTypeId());
    host.agent->Bind(InetSocketAddress(Ipv4Address::GetAny(), AGENT_PORT));
    host.agent->SetRecvCallback(
        Callback<void, Ptr<Socket>>([number](Ptr<Socket> socket) { hear(number, socket); }));
    host.heard.assign(hosts.size(), Said{});
    host.told.assign(hosts.size(), Said{});
    for (auto *all : {&host.heard, &host.told}) {
        for (auto &said : *all) {
            for (int port = 0; port < 2; port++)
                said.claims[port].level = said.level[port] = RULE_NO_LEVEL;
        }
    }
    host.heard_ns.assign(hosts.size(), -CLAIM_NS - 1);
    host.told_ns.assign(hosts.size(), -BEACON_NS);
    for (auto &one : host.owners)
        one = owner_new();
    Simulator::Schedule(NanoSeconds(TICK_NS + 37000 * number), &tick, number);
    Simulator::Schedule(NanoSeconds(SENDER_NS + 17000 * number), &look, number);
}

void network(uint32_t count, const std::string &tcp)
{
    NodeContainer nodes;
    InternetStackHelper stack;
    PointToPointHelper link;
    Ipv4AddressHelper addresses;
    TrafficControlHelper queues;

    Config::SetDefault("ns3::TcpL4Protocol::SocketType", TypeIdValue(TypeId::LookupByName(tcp)));
    Config::SetDefault("ns3::TcpSocket::SegmentSize", UintegerValue(1448));
    Config::SetDefault("ns3::TcpSocket::SndBufSize", UintegerValue(4 * MIB));
    Config::SetDefault("ns3::TcpSocket::RcvBufSize", UintegerValue(6 * MIB));
    Config::SetDefault("ns3::TcpSocket::InitialCwnd", UintegerValue(10));
    Config::SetDefault("ns3::TcpSocket::DelAckTimeout", TimeValue(MilliSeconds(1)));
    Config::SetDefault("ns3::TcpSocketBase::MinRto", TimeValue(MilliSeconds(200)));
    nodes.Create(count + 1); // the last is the switch
    stack.Install(nodes);
    link.SetDeviceAttribute("DataRate", DataRateValue(DataRate(8 * port_Bps)));
    link.SetChannelAttribute("Delay", TimeValue(MicroSeconds(10)));
    link.SetQueue("ns3::DropTailQueue", "MaxSize", QueueSizeValue(QueueSize("1000000B")));
    hosts.resize(count);
    for (uint32_t i = 0; i < count; i++) {
        const auto devices = link.Install(nodes.Get(i), nodes.Get(count));

        addresses.SetBase(("10.0." + std::to_string(i) + ".0").c_str(), "255.255.255.0");
        hosts[i].node = nodes.Get(i);
        hosts[i].address = addresses.Assign(devices).GetAddress(0);
        queues.Uninstall(devices); // one queue a port, in order
    }
    Ipv4GlobalRoutingHelper::PopulateRoutingTables();
    for (uint32_t i = 0; i < count; i++) {
        for (int side = 0; side < 2 && variant != "off"; side++)
            hosts[i].rules[side] = rule_new(count, side == 0, known_Bps);
    }
}

void both(uint32_t one, uint32_t other)
{
    way_open(one, other);
    way_open(other, one);
}

// --- cases ---

struct Stream { // urgent puts of host 0 to host 4
    const char *phase;
    double ends_s, begun_s;
    uint64_t count;
};

void stream_put(const std::shared_ptr<Stream> &stream, const std::function<void()> &then)
{
    const double started_s = now_s();

    if (started_s >= stream->ends_s) {
        if (*stream->phase == 'b')
            std::printf("stream %.9g\n",
                        double(stream->count * PUT_BYTES) / (started_s - stream->begun_s));
        then();
        return;
    }
    begin(0, 4, false, PUT_BYTES, true, URGENT_S, [=](double seconds) {
        std::printf("put %s %.9g\n", stream->phase, seconds);
        stream->count++;
        at(std::max(0.0, started_s + PUT_EVERY_S - now_s()), [=] { stream_put(stream, then); });
    });
}

void stream(const char *phase, double seconds, const std::function<void()> &then)
{
    stream_put(std::make_shared<Stream>(Stream{phase, now_s() + seconds, now_s(), 0}), then);
}

void read_on(uint32_t host)
{
    begin(host, 0, true, READ_BYTES, false, LOOSE_S, [host](double) { read_on(host); });
}

// as it comes, not when all of a read is there
uint64_t reads_came()
{
    uint64_t bytes = 0;

    for (uint32_t host = 1; host < 4; host++)
        bytes += ways.at({0, host})->came_ever;
    return bytes;
}

void pull(double seconds)
{
    for (uint32_t host = 1; host < 5; host++)
        both(0, host);
    stream("alone", seconds / 2, [seconds] {
        for (uint32_t host = 1; host < 4; host++) {
            for (int i = 0; i < READ_DEPTH; i++)
                read_on(host);
        }
        stream("fills", FILLED_S, [seconds] {
            const double alone_s = now_s();
            const uint64_t alone = reads_came();

            at(seconds / 2, [=] {
                const double begun_s = now_s();
                const uint64_t begun = reads_came();

                std::printf("capacity %.9g\n", double(begun - alone) / (begun_s - alone_s));
                stream("beside", seconds, [=] {
                    std::printf("reads %.9g\n",
                                double(reads_came() - begun) / (now_s() - begun_s));
                    Simulator::Stop();
                });
            });
        });
    });
}

void incast(double seconds)
{
    unsigned count;
    static unsigned left;

    for (uint32_t host = 1; host < 8; host++)
        both(0, host);
    if (std::scanf("%u", &count) != 1)
        std::exit(1);
    left = count;
    for (unsigned i = 0; i < count; i++) {
        unsigned sender;
        unsigned long long bytes;
        double at_s, due_s;

        if (std::scanf("%u %lf %llu %lf", &sender, &at_s, &bytes, &due_s) != 4)
            std::exit(1);
        at(at_s, [=] {
            begin(sender + 1, 0, false, bytes, false, due_s, [i](double took_s) {
                std::printf("put %u %.9g\n", i, took_s);
                if (--left == 0)
                    Simulator::Stop();
            });
        });
    }
    Simulator::Stop(Seconds(seconds + 60));
}

} // namespace

int main()
{
    char name[32], given[32], tcp[64];
    double seconds;
    unsigned long long port, known;

    if (std::scanf("%31s %31s %63s %lf %llu %llu", name, given, tcp, &seconds, &port, &known) != 6)
        return 1;
    variant = given;
    port_Bps = port;
    known_Bps = known;
    lost = variant == "loss" ? 0.3 : 0.0;
    network(std::string(name) == "pull" ? 5 : 8, tcp);
    chance = CreateObject<UniformRandomVariable>();
    if (std::string(name) == "pull")
        at(0.1, [seconds] { pull(seconds); });
    else
        incast(seconds);
    for (uint32_t i = 0; i < hosts.size() && variant != "off" && variant != "local"; i++)
        agent_open(i);
    Simulator::Run();
    uint64_t most = 0;
    for (const auto &host : hosts)
        most = std::max(most, host.datagram_bytes);
    std::printf("datagrams %.9g\n", double(most) / now_s());
    Simulator::Destroy();
    return 0;
}
