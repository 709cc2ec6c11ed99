// The verilated accelerator with a DDR memory behind its AXI masters, as a C library.
//
// One cycle is: sample the settled outputs, rising edge, apply the next inputs at the falling edge and let them settle.
// The memory decides its next outputs from registered state alone, so two evaluations a cycle are exact even where the
// design has combinational paths from its inputs to its outputs.
//
// The module `accelerator` has the ports clk, rst (synchronous, active high), irq, an AXI4-Lite slave s_axi_* (12
// address and 32 data bits) and MASTERS AXI4 masters m0_axi_*, m1_axi_* (32 address, 64 data and 1 ID bits; no lock,
// cache, prot, qos). The memory takes write data only after its address, stores it then, and reads when it answers.
//
// Compile with -DMASTERS=1 or 2. The structs and functions at the end are mirrored by memory.py and bus.py.

#include "Vaccelerator.h"
#include "verilated.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>

#ifndef MASTERS
#error "define MASTERS as the number of AXI masters"
#endif

namespace {

constexpr int64_t BEAT = 8;                 // bytes
constexpr int64_t MILLI = 1000;             // bandwidth is counted in thousandths of a byte
constexpr unsigned QUEUE = 64;              // most bursts a queue holds; a power of two
constexpr int REGISTER_TIMEOUT = 1000;      // cycles
enum Response : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };

// Mirrored by memory.py: _CMemory.
struct MemoryModel {
    int64_t milli_bytes_per_cycle;
    int64_t latency;                        // cycles
    int64_t outstanding;                    // bursts per port and direction
    int64_t hang_after;                     // accepted bursts; negative: never
    uint64_t error_low, error_high;         // device addresses [low, high)
    uint64_t seed;
    uint32_t stall;                         // probability per channel and cycle, of 65536
    uint32_t error_on;                      // bit 0: reads, bit 1: writes
};

// Mirrored by bus.py: _CTraffic.
struct Traffic {
    uint64_t bytes_read, bytes_written;
};

struct Burst {
    uint64_t address;                       // of the next beat
    uint64_t first, last;                   // the range that the whole burst touches
    uint64_t due;                           // cycle of the first read beat or of the write response
    unsigned left;                          // beats not yet moved
    uint8_t id, response;
};

struct Queue {
    Burst slots[QUEUE];
    unsigned head = 0, size = 0;
    Burst& front() { return slots[head]; }
    const Burst& at(unsigned i) const { return slots[(head + i) % QUEUE]; }
    void push(const Burst& burst) { slots[(head + size++) % QUEUE] = burst; }
    void pop() { head = (head + 1) % QUEUE; --size; }
    bool touches(const Burst& burst) const {
        for (unsigned i = 0; i < size; ++i)
            if (burst.first < at(i).last && at(i).first < burst.last) return true;
        return false;
    }
};

struct Pins {
    CData *awid, *awlen, *awsize, *awburst, *awvalid, *awready;
    CData *wstrb, *wlast, *wvalid, *wready;
    CData *bid, *bresp, *bvalid, *bready;
    CData *arid, *arlen, *arsize, *arburst, *arvalid, *arready;
    CData *rid, *rresp, *rlast, *rvalid, *rready;
    IData *awaddr, *araddr;
    QData *wdata, *rdata;
};

// What a master offered while it was not ready to be taken: it may not change.
struct Held {
    bool waiting = false;
    uint64_t a = 0, b = 0;
    bool changed(uint64_t now_a, uint64_t now_b) const { return a != now_a || b != now_b; }
};

struct Port {
    Pins pins;
    Queue reads, writes, responses;
    Held aw, w, ar;
    Traffic traffic{};
    // The outputs of the memory, as registers. A write permit is wready's claim on the bandwidth of one beat.
    bool arready = false, awready = false, wready = false, permit = false;
    bool rvalid = false, rlast = false, bvalid = false;
    uint64_t rdata = 0;
    uint8_t rresp = 0, rid = 0;
};

struct Fatal {};

struct Harness;
thread_local Harness* running = nullptr;    // whose design an assertion in the Verilog belongs to

struct Harness {
    VerilatedContext context;
    std::unique_ptr<Vaccelerator> top;
    Port ports[MASTERS];
    MemoryModel model{14 * MILLI, 40, 8, -1, 0, 0, 1, 0, 0};
    uint8_t* ddr;
    uint64_t base, size;                    // bytes
    uint64_t cycles = 0, accepted = 0, races = 0;
    uint64_t random = 1;
    int64_t credit = 0;                     // milli-bytes
    unsigned turn = 0;                      // round robin over (port, direction)
    char violation[256] = "";

    Harness(uint8_t* ddr_, uint64_t size_, uint64_t base_)
        : top(new Vaccelerator(&context, "accelerator")), ddr(ddr_), base(base_), size(size_) {
        bind();
    }

    void bind() {
        Vaccelerator* t = top.get();
#define BIND(n) \
    ports[n].pins = Pins{ \
        &t->m##n##_axi_awid, &t->m##n##_axi_awlen, &t->m##n##_axi_awsize, &t->m##n##_axi_awburst, \
        &t->m##n##_axi_awvalid, &t->m##n##_axi_awready, \
        &t->m##n##_axi_wstrb, &t->m##n##_axi_wlast, &t->m##n##_axi_wvalid, &t->m##n##_axi_wready, \
        &t->m##n##_axi_bid, &t->m##n##_axi_bresp, &t->m##n##_axi_bvalid, &t->m##n##_axi_bready, \
        &t->m##n##_axi_arid, &t->m##n##_axi_arlen, &t->m##n##_axi_arsize, &t->m##n##_axi_arburst, \
        &t->m##n##_axi_arvalid, &t->m##n##_axi_arready, \
        &t->m##n##_axi_rid, &t->m##n##_axi_rresp, &t->m##n##_axi_rlast, &t->m##n##_axi_rvalid, &t->m##n##_axi_rready, \
        &t->m##n##_axi_awaddr, &t->m##n##_axi_araddr, &t->m##n##_axi_wdata, &t->m##n##_axi_rdata}
        BIND(0);
#if MASTERS > 1
        BIND(1);
#endif
#undef BIND
    }

    // ---- violations

    __attribute__((format(printf, 2, 3), cold)) void violate(const char* format, ...) {
        if (violation[0]) return;
        int n = snprintf(violation, sizeof violation, "cycle %llu: ", (unsigned long long)cycles);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(violation + n, sizeof violation - n, format, arguments);
        va_end(arguments);
    }

    // AXI: once valid, an offer stays as it is until it is taken.
    void check_held(int port, const char* channel, Held& held, bool valid, bool ready, uint64_t a, uint64_t b) {
        if (held.waiting) {
            if (!valid) violate("port %d: %svalid dropped before %sready", port, channel, channel);
            else if (held.changed(a, b)) violate("port %d: %s payload changed while waiting", port, channel);
        }
        held.waiting = valid && !ready;
        held.a = a;
        held.b = b;
    }

    void check_burst(int port, const char* channel, uint64_t address, unsigned length, unsigned size, unsigned burst) {
        unsigned beats = length + 1;
        if (beats > 16) violate("port %d: %s burst of %u beats, AXI3 allows 16", port, channel, beats);
        if (size != 3) violate("port %d: %ssize %u, must be 3 (8 bytes)", port, channel, size);
        if (burst != 1) violate("port %d: %sburst %u, must be 1 (INCR)", port, channel, burst);
        auto at = (unsigned long long)address;
        if (address % BEAT) violate("port %d: %saddr 0x%08llx not aligned to 8 bytes", port, channel, at);
        if (address % 4096 + beats * BEAT > 4096)
            violate("port %d: %s burst of %u beats at 0x%08llx crosses a 4 KB boundary", port, channel, beats, at);
    }

    // ---- memory: the design's side of a cycle

    Burst accept(uint64_t address, unsigned length, uint8_t id) {
        ++accepted;
        address &= ~uint64_t(BEAT - 1);
        return Burst{address, address, address + (length + 1) * BEAT, cycles + model.latency, length + 1, id, OKAY};
    }

    // Reads and writes have no order between them on AXI: overlapping ones in flight are a race on real memory.
    void count_read_races(const Burst& burst) {
        for (Port& port : ports)
            if (port.writes.touches(burst) || port.responses.touches(burst)) { ++races; return; }
    }

    void count_write_races(const Port& own, const Burst& burst) {
        for (Port& port : ports) {
            bool other = &port != &own && (port.writes.touches(burst) || port.responses.touches(burst));
            if (other || port.reads.touches(burst)) { ++races; return; }
        }
    }

    uint8_t decode(uint64_t address, uint32_t direction) const {
        if (address < base || address + BEAT > base + size) return DECERR;
        bool hit = address < model.error_high && address + BEAT > model.error_low;
        return hit && (model.error_on & direction) ? SLVERR : OKAY;
    }

    void write_beat(Burst& burst, uint64_t data, uint8_t strobe) {
        uint8_t response = decode(burst.address, 2);
        if (response > burst.response) burst.response = response;
        if (response != OKAY) return;
        uint8_t* to = ddr + (burst.address - base);
        if (strobe == 0xff) { memcpy(to, &data, BEAT); return; }
        for (int i = 0; i < BEAT; ++i)
            if (strobe >> i & 1) to[i] = uint8_t(data >> (8 * i));
    }

    // Takes what is exchanged at the coming edge. Only reads pins: they must still hold what the design saw.
    void sample(int index) {
        Port& port = ports[index];
        const Pins& p = port.pins;
        if (*p.arvalid || port.ar.waiting) {
            uint64_t rest = uint64_t(*p.arlen) | *p.arsize << 8 | *p.arburst << 12 | *p.arid << 16;
            check_held(index, "ar", port.ar, *p.arvalid, port.arready, *p.araddr, rest);
            if (*p.arvalid && port.arready) {
                check_burst(index, "ar", *p.araddr, *p.arlen, *p.arsize, *p.arburst);
                Burst burst = accept(*p.araddr, *p.arlen, *p.arid);
                count_read_races(burst);
                port.reads.push(burst);
            }
        }
        if (port.rvalid && *p.rready) {
            port.rvalid = false;
            port.traffic.bytes_read += BEAT;
            if (port.rlast) port.reads.pop();
        }
        if (port.bvalid && *p.bready) {
            port.bvalid = false;
            port.responses.pop();
        }
        if (*p.wvalid || port.w.waiting) {
            uint64_t rest = uint64_t(*p.wstrb) | *p.wlast << 8;
            check_held(index, "w", port.w, *p.wvalid, port.wready, *p.wdata, rest);
            if (*p.wvalid && port.wready) {
                port.permit = false;
                port.traffic.bytes_written += BEAT;
                Burst& burst = port.writes.front();
                write_beat(burst, *p.wdata, *p.wstrb);
                burst.address += BEAT;
                if (bool(*p.wlast) != (--burst.left == 0))
                    violate("port %d: wlast is %d with %u beats of the burst left", index, int(*p.wlast), burst.left);
                if (burst.left == 0) {
                    burst.due = cycles + model.latency;
                    port.responses.push(burst);
                    port.writes.pop();
                }
            }
        }
        if (*p.awvalid || port.aw.waiting) {
            uint64_t rest = uint64_t(*p.awlen) | *p.awsize << 8 | *p.awburst << 12 | *p.awid << 16;
            check_held(index, "aw", port.aw, *p.awvalid, port.awready, *p.awaddr, rest);
            if (*p.awvalid && port.awready) {
                check_burst(index, "aw", *p.awaddr, *p.awlen, *p.awsize, *p.awburst);
                Burst burst = accept(*p.awaddr, *p.awlen, *p.awid);
                count_write_races(port, burst);
                port.writes.push(burst);
            }
        }
    }

    // ---- memory: its own side of a cycle

    uint64_t draw() {                       // splitmix64
        uint64_t z = random += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }

    void read_beat(Port& port) {
        Burst& burst = port.reads.front();
        port.rresp = decode(burst.address, 1);
        port.rdata = 0;
        if (port.rresp == OKAY) memcpy(&port.rdata, ddr + (burst.address - base), BEAT);
        port.rid = burst.id;
        port.rlast = --burst.left == 0;
        port.rvalid = true;
        burst.address += BEAT;
    }

    // Decides the outputs of the coming cycle, number `cycles`.
    void serve() {
        bool hung = model.hang_after >= 0 && accepted >= uint64_t(model.hang_after);
        unsigned stalled[MASTERS] = {};     // bits: ar, aw, w, r, b
        if (model.stall)
            for (unsigned& bits : stalled)
                for (uint64_t i = 0, word = 0; i < 5; ++i, word >>= 16) {
                    if (i % 4 == 0) word = draw();
                    bits |= unsigned((word & 0xffff) < model.stall) << i;
                }
        // Less than a beat is saved up: an idle memory cannot lend bandwidth to a later cycle.
        credit += model.milli_bytes_per_cycle;
        int64_t most = model.milli_bytes_per_cycle + BEAT * MILLI;
        if (credit > most) credit = most;
        if (!hung) {
            unsigned start = turn;
            for (unsigned i = 0; i < 2 * MASTERS && credit >= BEAT * MILLI; ++i) {
                unsigned who = (start + i) % (2 * MASTERS);
                Port& port = ports[who / 2];
                if (who % 2 == 0) {
                    bool due = port.reads.size && port.reads.front().due <= cycles;
                    if (port.rvalid || !due || stalled[who / 2] & 8) continue;
                    read_beat(port);
                } else {
                    if (port.permit || !port.writes.size) continue;
                    port.permit = true;
                }
                credit -= BEAT * MILLI;
                turn = (who + 1) % (2 * MASTERS);
            }
        }
        for (int i = 0; i < MASTERS; ++i) {
            Port& port = ports[i];
            port.arready = !hung && port.reads.size < model.outstanding && !(stalled[i] & 1);
            port.awready = !hung && port.writes.size + port.responses.size < model.outstanding && !(stalled[i] & 2);
            port.wready = !hung && port.permit && !(stalled[i] & 4);
            bool due = port.responses.size && port.responses.front().due <= cycles;
            if (!port.bvalid && due && !hung && !(stalled[i] & 16)) port.bvalid = true;
            drive(port);
        }
    }

    void drive(Port& port) {
        const Pins& p = port.pins;
        *p.arready = port.arready;
        *p.awready = port.awready;
        *p.wready = port.wready;
        *p.rvalid = port.rvalid;
        *p.rlast = port.rlast;
        *p.rdata = port.rdata;
        *p.rresp = port.rresp;
        *p.rid = port.rid;
        *p.bvalid = port.bvalid;
        if (port.bvalid) {
            *p.bresp = port.responses.front().response;
            *p.bid = port.responses.front().id;
        }
    }

    // ---- clocking

    void cycle() {
        for (int i = 0; i < MASTERS; ++i) sample(i);
        top->clk = 1;
        top->eval();
        ++cycles;
        serve();
        top->clk = 0;
        top->eval();
    }

    int reset() {
        for (Port& port : ports) {
            Pins pins = port.pins;
            Traffic traffic = port.traffic;
            port = Port{};
            port.pins = pins;
            port.traffic = traffic;
            drive(port);
        }
        credit = 0;
        turn = 0;
        accepted = 0;
        random = model.seed;
        top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = top->s_axi_arvalid = top->s_axi_rready = 0;
        top->rst = 1;
        top->clk = 0;
        top->eval();
        for (int i = 0; i < 4; ++i, ++cycles) {
            top->clk = 1;
            top->eval();
            top->clk = 0;
            top->eval();
        }
        violation[0] = 0;                   // an assertion may fire before the first edge of the reset
        for (int i = 0; i < MASTERS; ++i) {
            const Pins& p = ports[i].pins;
            if (*p.arvalid || *p.awvalid || *p.wvalid) violate("port %d: a valid is high during reset", i);
        }
        top->rst = 0;
        serve();
        top->eval();
        return 0;
    }

    int64_t run(int64_t most) {
        int64_t n = 0;
        for (; n < most && !top->irq && !violation[0]; ++n) cycle();
        return n;
    }

    // The slave's response, or -1 where none came in time.
    int write_register(uint32_t address, uint32_t data) {
        top->s_axi_awaddr = address;
        top->s_axi_wdata = data;
        top->s_axi_wstrb = 0xf;
        top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 1;
        top->eval();
        for (int n = 0; n < REGISTER_TIMEOUT && !violation[0]; ++n) {
            bool aw = top->s_axi_awvalid && top->s_axi_awready, w = top->s_axi_wvalid && top->s_axi_wready;
            bool done = top->s_axi_bvalid;
            int response = top->s_axi_bresp;
            if (done && (top->s_axi_awvalid || top->s_axi_wvalid)) violate("s_axi: bvalid before the write was taken");
            cycle();
            if (aw) top->s_axi_awvalid = 0;
            if (w) top->s_axi_wvalid = 0;
            if (done) top->s_axi_bready = 0;
            top->eval();
            if (done) return response;
        }
        return -1;
    }

    int read_register(uint32_t address, uint32_t* data) {
        top->s_axi_araddr = address;
        top->s_axi_arvalid = top->s_axi_rready = 1;
        top->eval();
        for (int n = 0; n < REGISTER_TIMEOUT && !violation[0]; ++n) {
            bool ar = top->s_axi_arvalid && top->s_axi_arready;
            bool done = top->s_axi_rvalid;
            int response = top->s_axi_rresp;
            *data = top->s_axi_rdata;
            if (done && top->s_axi_arvalid) violate("s_axi: rvalid before the address was taken");
            cycle();
            if (ar) top->s_axi_arvalid = 0;
            if (done) top->s_axi_rready = 0;
            top->eval();
            if (done) return response;
        }
        return -1;
    }
};

}  // namespace

// Verilator calls these; its own versions would end the Python process. First, failed assertions and $stop.
void vl_stop(const char* file, int line, const char*) VL_MT_UNSAFE {
    if (running) running->violate("assertion in the design failed at %s:%d", file, line);
}

// Assertions that have a message call this.
extern "C" void bnnedge_failed(const char* message) {
    if (running) running->violate("%s", message);
}

// Then what it cannot go on after: logic that does not settle, for one, would be tried again for ever.
void vl_fatal(const char* file, int line, const char*, const char* message) VL_MT_UNSAFE {
    if (running) running->violate("simulation failed at %s:%d: %s", file, line, message);
    throw Fatal{};
}

namespace {

// No exception may reach Python. The violation is latched; the result counts for nothing.
template <typename Action>
auto guarded(Harness* harness, Action action) -> decltype(action()) {
    running = harness;
    try {
        return action();
    } catch (const Fatal&) {
        return decltype(action())(-1);
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Harness* bnnedge_create(uint8_t* ddr, uint64_t size, uint64_t base) { return new Harness(ddr, size, base); }
API void bnnedge_destroy(Harness* h) { delete h; }
API int bnnedge_reset(Harness* h) { return guarded(h, [&] { return h->reset(); }); }
API int64_t bnnedge_run(Harness* h, int64_t most) { return guarded(h, [&] { return h->run(most); }); }
API int bnnedge_read(Harness* h, uint32_t address, uint32_t* data) {
    return guarded(h, [&] { return h->read_register(address, data); });
}
API int bnnedge_write(Harness* h, uint32_t address, uint32_t data) {
    return guarded(h, [&] { return h->write_register(address, data); });
}
API int bnnedge_irq(Harness* h) { return h->top->irq; }
API uint64_t bnnedge_cycles(Harness* h) { return h->cycles; }
API uint64_t bnnedge_races(Harness* h) { return h->races; }
API const char* bnnedge_violation(Harness* h) { return h->violation; }
API int bnnedge_masters() { return MASTERS; }
API void bnnedge_traffic(Harness* h, int port, Traffic* to) { *to = h->ports[port].traffic; }
API void bnnedge_set_memory(Harness* h, const MemoryModel* model) {
    h->model = *model;
    h->random = model->seed;
}
