//! What the GPU engine needs of a device: memory, kernels that are called by name, and matrix products. All that is
//! asked of it happens in the order in which it is asked, one after the other; the caller goes on meanwhile.
//!
//! There are two: `gpu.rs`, an NVIDIA GPU, and, in tests, `emulator.rs`, which runs the same kernels on the CPU.

use crate::Result;
use crate::model::Precision;

/// A place in a device's memory, in bytes.
pub(super) type Address = u64;

/// How numbers lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Element {
    F32,
    /// The upper half of an `f32`.
    Bf16,
}

impl Element {
    /// How a machine that computes in this precision keeps what may be rounded.
    pub(super) fn of(precision: Precision) -> Self {
        match precision {
            Precision::Bf16 => Self::Bf16,
            Precision::F32 | Precision::Tf32 => Self::F32,
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// A kernel's argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    At(Address),
    Int(i32),
    Size(u64),
    Float(f32),
}

impl Argument {
    /// Its bytes, as a kernel gets them, in the first ones of eight.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::At(address) | Self::Size(address) => address,
            Self::Int(number) => u64::from(number as u32),
            Self::Float(number) => u64::from(number.to_bits()),
        }
    }
}

/// A call of a kernel: `grid` blocks of `block` threads, with `shared` bytes of memory that a block's threads share.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) kernel: &'a str,
    /// How the kernels' type `rounded` is to be read: which of their two builds is meant.
    pub(super) rounded: Element,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared: u32,
    pub(super) arguments: &'a [Argument],
}

/// A matrix in memory, row after row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matrix {
    pub(super) at: Address,
    pub(super) element: Element,
    /// Whether the product takes its transpose.
    pub(super) transposed: bool,
}

/// c = plus + a · b, where, after transposition, a is (M, K), b (K, N), c and `plus` (M, N). Sums are in `f32`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matmul {
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    pub(super) c: Matrix,
    /// Of c's type; may be c.
    pub(super) plus: Option<Address>,
    /// M, N, K.
    pub(super) shape: [usize; 3],
    /// Whether factors in `f32` may be rounded to TF32, which has 11 significant bits.
    pub(super) tf32: bool,
}

/// How long the calls of a kernel, or the products of one shape, took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Time {
    /// The kernel's name, or `matmul MxNxK` with its factors' and result's types.
    pub name: String,
    /// How many calls.
    pub calls: usize,
    /// How long they took together, from the call until it was done, by the host's clock.
    pub seconds: f64,
}

/// A device. Errors are those of the device or its memory, and may come late: with a later call than that which
/// failed.
pub(super) trait Device: Send {
    /// What it is, for people: `NVIDIA H100 80GB HBM3`.
    fn name(&self) -> &str;
    /// How much memory it has, in bytes.
    fn memory(&self) -> usize;
    /// Memory for so many bytes, whatever they hold. It begins at a multiple of 256.
    fn allocate(&mut self, bytes: usize) -> Result<Address>;
    /// Gives memory back that `allocate` gave.
    fn free(&mut self, at: Address);
    /// Copies bytes there; they may be changed as soon as this returns.
    fn upload(&mut self, bytes: &[u8], to: Address) -> Result<()>;
    /// Copies bytes from there, when all that was asked before is done.
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()>;
    /// Makes bytes zero.
    fn clear(&mut self, at: Address, bytes: usize) -> Result<()>;
    /// Calls a kernel.
    fn launch(&mut self, launch: &Launch<'_>) -> Result<()>;
    /// Multiplies matrices.
    fn matmul(&mut self, matmul: &Matmul) -> Result<()>;
    /// From now on measures how long each call takes, or no more; and returns what was measured. Measuring waits for
    /// each call.
    fn measure(&mut self, _on: bool) -> Vec<Time> {
        Vec::new()
    }
}
