//! A device for tests: the kernels' own sources, compiled for the CPU by a C++ compiler and run thread by thread
//! (`emulator/emulator.cpp`), and plain matrix products. It checks what a GPU would not tell: blocks whose threads wait
//! at different places, and memory that is read or written beyond its end.

use super::device::{Address, Device, Element, Launch, Matmul, Matrix};
use super::source;
use crate::{Error, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

type Emulate = unsafe extern "C" fn(
    *const c_char,
    *const c_uint,
    *const c_uint,
    c_uint,
    *mut *mut c_void,
    c_ulonglong,
    *mut c_char,
    c_uint,
) -> c_int;

/// What stands before and after each piece of memory, and must still stand there when it is given back.
const GUARD: [u8; 64] = [0xa5; 64];

/// The emulated device.
pub(super) struct Emulator {
    /// Pieces of memory by their address: the guards, and what is between.
    pieces: Vec<(Address, usize, Vec<u8>)>,
    /// In which order threads of a block go on: another seed, another order, the same results.
    seed: u64,
    /// How much memory it says it has.
    memory: usize,
    /// How many more calls of kernels, products and downloads succeed.
    pub(super) left: Arc<AtomicUsize>,
    /// Bytes in use.
    pub(super) used: usize,
}

impl Emulator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            pieces: Vec::new(),
            seed,
            memory: 1 << 28,
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            used: 0,
        }
    }

    pub(super) fn with_memory(self, memory: usize) -> Self {
        Self { memory, ..self }
    }

    fn failed(what: impl Into<String>) -> Error {
        Error::Device { device: "the emulated GPU".into(), what: what.into() }
    }

    /// Checks that a range lies in one piece.
    fn within(&self, at: Address, bytes: usize) -> Result<()> {
        let inside = |(start, len, _): &(Address, usize, Vec<u8>)| {
            *start <= at && at + bytes as Address <= start + *len as Address
        };
        match self.pieces.iter().any(inside) {
            true => Ok(()),
            false => Err(Self::failed(format!("{bytes} bytes at {at:x} are in no piece of memory"))),
        }
    }

    /// Checks that nothing was written around any piece.
    fn check(&self) -> Result<()> {
        for (at, len, all) in &self.pieces {
            let start = (at - all.as_ptr() as Address) as usize;
            if all[start - GUARD.len()..start] != GUARD || all[start + len..][..GUARD.len()] != GUARD {
                return Err(Self::failed(format!("something was written beyond a piece of {len} bytes")));
            }
        }
        Ok(())
    }

    fn spend(&mut self) -> Result<()> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map_err(|_| Self::failed("it was told to fail now")).map(drop)
    }

    /// The numbers of a matrix of this shape, (rows, columns) after transposition.
    fn numbers(&self, matrix: Matrix, [rows, columns]: [usize; 2]) -> Result<Vec<f64>> {
        self.within(matrix.at, rows * columns * matrix.element.bytes())?;
        let mut numbers = Vec::with_capacity(rows * columns);
        for i in 0..rows {
            for j in 0..columns {
                let place = if matrix.transposed { j * rows + i } else { i * columns + j };
                numbers.push(f64::from(self.number(matrix, place)));
            }
        }
        Ok(numbers)
    }

    fn number(&self, matrix: Matrix, place: usize) -> f32 {
        // SAFETY: `within` was asked.
        unsafe {
            match matrix.element {
                Element::F32 => *(matrix.at as *const f32).add(place),
                Element::Bf16 => f32::from_bits(u32::from(*(matrix.at as *const u16).add(place)) << 16),
            }
        }
    }
}

impl Device for Emulator {
    fn name(&self) -> &str {
        "an emulated GPU"
    }

    fn memory(&self) -> usize {
        self.memory
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        if self.used + bytes > self.memory {
            return Err(Self::failed(format!("{bytes} bytes are more than it has left")));
        }
        let mut all = vec![0xff; bytes + 256 + 2 * GUARD.len()]; // f32 and bf16 read it as NaN
        let start = all.as_ptr() as usize + GUARD.len();
        let at = start.next_multiple_of(256) - all.as_ptr() as usize;
        all[at - GUARD.len()..at].copy_from_slice(&GUARD);
        all[at + bytes..][..GUARD.len()].copy_from_slice(&GUARD);
        let address = all.as_ptr() as Address + at as Address;
        self.pieces.push((address, bytes, all));
        self.used += bytes;
        Ok(address)
    }

    fn free(&mut self, at: Address) {
        let place = self.pieces.iter().position(|(start, ..)| *start == at).expect("it was allocated");
        self.used -= self.pieces.swap_remove(place).1;
    }

    fn upload(&mut self, bytes: &[u8], to: Address) -> Result<()> {
        self.within(to, bytes.len())?;
        // SAFETY: it was just checked.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.spend()?;
        self.check()?;
        self.within(from, bytes.len())?;
        // SAFETY: it was just checked.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn clear(&mut self, at: Address, bytes: usize) -> Result<()> {
        self.within(at, bytes)?;
        // SAFETY: it was just checked.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<()> {
        self.spend()?;
        let copies = copies(launch.rounded);
        let kernel = CString::new(launch.kernel).unwrap();
        let values: Vec<u64> = launch.arguments.iter().map(|argument| argument.bytes()).collect();
        let mut arguments: Vec<*mut c_void> =
            values.iter().map(|value| std::ptr::from_ref(value).cast_mut().cast()).collect();
        let mut message: [c_char; 512] = [0; 512];
        let free = copies.iter().find_map(|copy| copy.try_lock().ok());
        let emulate = free.unwrap_or_else(|| copies[0].lock().unwrap());
        // SAFETY: the arguments are the kernel's, by its description.
        let status = unsafe {
            (*emulate)(
                kernel.as_ptr(),
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.shared,
                arguments.as_mut_ptr(),
                self.seed,
                message.as_mut_ptr(),
                message.len() as c_uint,
            )
        };
        drop(emulate);
        // SAFETY: it ends with a zero.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
        if status != 0 {
            return Err(Self::failed(format!("{}: {message}", launch.kernel)));
        }
        self.check().map_err(|error| Self::failed(format!("{}: {error}", launch.kernel)))
    }

    fn matmul(&mut self, matmul: &Matmul) -> Result<()> {
        self.spend()?;
        let Matmul { a, b, c, plus, shape: [m, n, k], .. } = *matmul;
        let (a, b) = (self.numbers(a, [m, k])?, self.numbers(b, [k, n])?);
        let plus = plus.map(|at| self.numbers(Matrix { at, ..c }, [m, n])).transpose()?;
        self.within(c.at, m * n * c.element.bytes())?;
        for i in 0..m {
            for j in 0..n {
                let sum: f64 = (0..k).map(|at| a[i * k + at] * b[at * n + j]).sum();
                let sum = (sum + plus.as_ref().map_or(0.0, |plus| plus[i * n + j])) as f32;
                // SAFETY: `within` was asked.
                unsafe {
                    match c.element {
                        Element::F32 => *(c.at as *mut f32).add(i * n + j) = sum,
                        Element::Bf16 => {
                            *(c.at as *mut u16).add(i * n + j) = half::bf16::from_f32(sum).to_bits();
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The kernels, compiled for the CPU, once for all tests. In each copy one block runs at a time, in memory of that copy: so there is one
/// for each core, and tests need not wait for each other.
fn copies(rounded: Element) -> &'static [Mutex<Emulate>] {
    static BUILT: OnceLock<[Vec<Mutex<Emulate>>; 2]> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        // Nearly all tests need both.
        thread::scope(|scope| {
            let exact = scope.spawn(|| build(Element::F32));
            let rounded = build(Element::Bf16);
            [exact.join().unwrap(), rounded]
        })
    });
    &built[usize::from(rounded == Element::Bf16)]
}

fn build(rounded: Element) -> Vec<Mutex<Emulate>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/cuda/emulator");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kernels.so");
    let [language, precision, kernels] = source::options(rounded);
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let built = Command::new(&compiler)
        .args([&language, "-O1", "-shared", "-fPIC", "-DEMULATED", &precision, &kernels])
        // A load of 16 bytes from elsewhere, at which a GPU stops, ends the test.
        .args(["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error", "-o"])
        .arg(&file)
        .arg(sources.join("emulator.cpp"))
        .output()
        .unwrap_or_else(|error| panic!("these tests need a C++ compiler ({compiler:?}): {error}"));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let copy = |number: usize| {
        // A file of its own: the system loads the same one only once.
        let copy = folder.path().join(format!("kernels-{number}.so"));
        std::fs::copy(&file, &copy).unwrap();
        Mutex::new(load(&copy))
    };
    (0..cores.min(8)).map(copy).collect()
}

fn load(file: &Path) -> Emulate {
    let file = CString::new(file.to_str().unwrap()).unwrap();
    // SAFETY: the library was just built; the function has this type.
    unsafe {
        let library = libc::dlopen(file.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        let function = libc::dlsym(library, c"igpt_emulate".as_ptr());
        assert!(!function.is_null());
        std::mem::transmute::<*mut c_void, Emulate>(function)
    }
}
