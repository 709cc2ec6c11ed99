// harness.cpp with waveforms: each evaluation of the model is written while a file is open. Compile with -DBNNEDGE_FST for FST,
// otherwise it is VCD, and with hierarchy.h, see waves.py.
//
// A clock cycle takes 10 ns: the rising edge comes at a multiple of 10, the falling edge 5 ns later, and what the host changes
// after an edge a nanosecond later each.

#include "Vaccelerator.h"
#include "hierarchy.h"
#include "verilated.h"
#ifdef BNNEDGE_FST
#include "verilated_fst_c.h"
using Waves = VerilatedFstC;
#else
#include "verilated_vcd_c.h"
using Waves = VerilatedVcdC;
#endif

#include <cstdint>
#include <memory>

class Traced : public Vaccelerator {
    std::unique_ptr<Waves> waves;
    uint64_t half = 1, extra = 0;           // half cycles so far; evaluations since the last edge
    CData level = 0;
    bool failed = false;                    // not all could be written

    static VerilatedContext* prepared(VerilatedContext* context) {
        context->traceEverOn(true);
        return context;
    }

    // What could not be written would be tried again by the destructor, which may not fail: so it is left alone.
    template <typename Action>
    void write(Action action) {
        if (!waves) return;
        try {
            action();
        } catch (...) {
            waves.release();
            failed = true;
            throw;
        }
    }

public:
    // Without a name of its own: signals are called accelerator.core..., as the modules are.
    Traced(VerilatedContext* context, const char*) : Vaccelerator{prepared(context), ""} {}
    ~Traced() {
        try {
            close();
        } catch (...) {                     // the disk is full: it has been told
        }
    }

    void eval() {
        Vaccelerator::eval();
        if (clk != level) {
            level = clk;
            ++half;
            extra = 0;
        } else if (extra < 4) {
            ++extra;
        } else {
            return;                         // it is written with the next edge
        }
        write([&] { waves->dump(5 * half + extra); });
    }

    bool open(const char* path) {
        waves = std::make_unique<Waves>();
        waves->set_time_unit("1ns");
        waves->set_time_resolution("1ns");
        trace(waves.get(), 99);
        waves->open(path);
        if (!waves->isOpen()) return false;
        ++extra;
        write([&] { waves->dump(5 * half + extra); });
        return true;
    }

    bool close() {
        write([&] { waves->close(); });
        waves.reset();
        return !failed;
    }
};

#define Vaccelerator Traced
#include "harness.cpp"
#undef Vaccelerator

// 0: it is open; otherwise it could not be.
API int bnnedge_waves_open(Harness* h, const char* path) { return guarded(h, [&] { return h->top->open(path) ? 0 : -1; }); }
API int bnnedge_waves_close(Harness* h) { return guarded(h, [&] { return h->top->close() ? 0 : -1; }); }
API const char* bnnedge_hierarchy() { return HIERARCHY; }
