//! A GPU by NVIDIA's libraries: the driver for memory and kernels, cuBLASLt for matrix products. All work goes into one
//! stream; [`Device::download`] waits for it, and so do uploads of more than 16 MiB.

use super::device::{Address, Device, Element, Launch, Matmul, Time};
use super::{kernels, libraries};
use crate::{Error, Result};
use cudarc::cublaslt::{result as blas, sys as lt};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result as driver, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::mem::size_of_val;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Memory for cuBLASLt's own use: what NVIDIA recommends for Hopper.
const BLAS_WORKSPACE: usize = 32 << 20;
/// Memory of the host that the device can read by itself, through which uploads go.
const STAGING: usize = 16 << 20;
/// The shared memory that a kernel gets without asking.
const SHARED: u32 = 48 << 10;

/// An NVIDIA GPU.
pub(super) struct Gpu {
    name: String,
    memory: usize,
    architecture: kernels::Architecture,
    driver: i32,
    modules: HashMap<Element, sys::CUmodule>,
    functions: HashMap<(Element, String), sys::CUfunction>,
    blas: Blas,
    staging: Staging,
    /// Calls and seconds by name, while it is measured.
    times: Option<HashMap<String, (usize, f64)>>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

// SAFETY: handles of the driver and of cuBLASLt may be used from any thread, one at a time.
unsafe impl Send for Gpu {}

/// What can be known of a GPU without using it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) memory: usize,
    pub(crate) architecture: (i32, i32),
}

/// Whether there is a driver at all.
pub(crate) fn has_driver() -> bool {
    // SAFETY: it only tries to load the driver's library.
    unsafe { sys::is_culib_present() }
}

/// How many GPUs there are.
pub(crate) fn count() -> Result<usize> {
    if !has_driver() {
        return Ok(0);
    }
    let count = driver::init().and_then(|()| driver::device::get_count());
    match count {
        Ok(count) => Ok(count.max(0) as usize),
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
        Err(error) => Err(failed("NVIDIA's driver", "cuInit", error)),
    }
}

/// What the GPU of this number is.
pub(crate) fn find(ordinal: usize) -> Result<Found> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED as POOLS,
    };
    let count = count()?;
    if ordinal >= count {
        return Err(Error::invalid(match count {
            0 if !has_driver() => "there is no NVIDIA driver on this machine (libcuda.so.1)".to_owned(),
            0 => "NVIDIA's driver finds no GPU".to_owned(),
            count => format!("there is no GPU {ordinal}: this machine has {count}, counted from 0"),
        }));
    }
    let look = || {
        let device = driver::device::get(ordinal as i32)?;
        // SAFETY: the device was just got.
        unsafe {
            let pools = driver::device::get_attribute(device, POOLS)? > 0;
            let found = Found {
                name: driver::device::get_name(device)?,
                memory: driver::device::total_mem(device)?,
                architecture: (
                    driver::device::get_attribute(device, MAJOR)?,
                    driver::device::get_attribute(device, MINOR)?,
                ),
            };
            Ok((found, pools))
        }
    };
    let (found, pools): (Found, bool) =
        look().map_err(|error| failed(&format!("GPU {ordinal}"), "looking at it", error))?;
    if found.architecture < (8, 0) {
        let Found { name, architecture: (major, minor), .. } = found;
        return Err(Error::invalid(format!(
            "{name} (sm_{major}{minor}) is too old: bf16 needs an Ampere GPU (sm_80) or a later one"
        )));
    }
    if !pools {
        return Err(Error::invalid(format!(
            "{} gives no memory in a stream's order, as some virtual GPUs do not",
            found.name
        )));
    }
    Ok(found)
}

/// The CUDA version that the driver can work with: 13000 is 13.0.
pub(crate) fn driver_version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: it gets a place for a number.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|error| failed("NVIDIA's driver", "cuDriverGetVersion", error))?;
    Ok(version)
}

/// Whether the libraries that a GPU is used with are there.
pub(crate) fn libraries_found() -> Result<()> {
    let driver = driver_version()?;
    libraries::nvrtc(driver)?;
    libraries::cublas_lt(driver)
}

fn failed(device: &str, what: &str, error: DriverError) -> Error {
    let hint = match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            ": its memory is full. Take smaller batches or activation checkpointing, or see with nvidia-smi who else uses it"
        }
        sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        | sys::CUresult::CUDA_ERROR_LAUNCH_FAILED
        | sys::CUresult::CUDA_ERROR_MISALIGNED_ADDRESS => {
            ": a kernel is at fault, and this program cannot use the GPU any more. Restart it (a notebook's kernel), and \
             please report it"
        }
        _ => "",
    };
    Error::Device { device: device.to_owned(), what: format!("{what}: {:?}{hint}", error.0) }
}

impl Gpu {
    /// The GPU of this number.
    ///
    /// # Errors
    /// If it is not there or cannot be used; the message says what to do.
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        let Found { name, memory, architecture } = find(ordinal)?;
        libraries_found()?;
        let driver = driver_version()?;
        let open = || -> Result<_, DriverError> {
            let context = context(ordinal)?;
            let stream = context.new_stream()?;
            keep_pool(&context)?;
            Ok((context, stream))
        };
        let (context, stream) = open().map_err(|error| failed(&name, "opening it", error))?;
        let staging = Staging::new().map_err(|error| failed(&name, "memory of the host", error))?;
        let blas = Blas::new(&name, &stream)?;
        Ok(Self {
            name,
            memory,
            architecture,
            driver,
            modules: HashMap::new(),
            functions: HashMap::new(),
            blas,
            staging,
            times: None,
            stream,
            context,
        })
    }

    /// Does something with the driver, from whatever thread this is.
    fn call<T>(&self, what: &str, call: impl FnOnce() -> Result<T, DriverError>) -> Result<T> {
        self.context.bind_to_thread().and_then(|()| call()).map_err(|error| failed(&self.name, what, error))
    }

    /// Does something, and measures it if that is wanted.
    fn timed(
        &mut self,
        name: impl FnOnce() -> String,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        if self.times.is_none() {
            return work(self);
        }
        self.wait()?;
        let began = Instant::now();
        work(self)?;
        self.wait()?;
        let times = self.times.get_or_insert_default().entry(name()).or_default();
        *times = (times.0 + 1, times.1 + began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until all that was asked is done; what was staged is then nobody's.
    fn wait(&mut self) -> Result<()> {
        let stream = self.stream.cu_stream();
        // SAFETY: the stream is there.
        self.call("waiting", || unsafe { driver::stream::synchronize(stream) })?;
        self.staging.used = 0;
        Ok(())
    }

    fn function(&mut self, launch: &Launch<'_>) -> Result<sys::CUfunction> {
        let key = (launch.rounded, launch.kernel.to_owned());
        if let Some(function) = self.functions.get(&key) {
            return Ok(*function);
        }
        let module = match self.modules.get(&launch.rounded) {
            Some(module) => *module,
            None => {
                let code = kernels::code(self.architecture, launch.rounded, self.driver)?;
                // SAFETY: it is code for this GPU, made by its compiler.
                let module = self
                    .call("loading kernels", || unsafe { driver::module::load_data(code.as_ptr().cast()) })?;
                self.modules.insert(launch.rounded, module);
                module
            }
        };
        let name = CString::new(launch.kernel).map_err(|error| Error::invalid(error.to_string()))?;
        // SAFETY: the module stays loaded.
        let function = self.call(launch.kernel, || unsafe { driver::module::get_function(module, name) })?;
        if launch.shared > SHARED {
            use sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as THERE;
            use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
            let there = self.call(launch.kernel, || self.context.attribute(THERE))?;
            if i64::from(launch.shared) > i64::from(there) {
                return Err(Error::Device {
                    device: self.name.clone(),
                    what: format!(
                        "{} needs {} bytes of shared memory, and it has {there}: heads this wide train in bf16 only",
                        launch.kernel, launch.shared
                    ),
                });
            }
            // SAFETY: the function was just got.
            self.call(launch.kernel, || unsafe {
                driver::function::set_function_attribute(function, MOST, launch.shared as i32)
            })?;
        }
        self.functions.insert(key, function);
        Ok(function)
    }
}

/// The context of a GPU. It stays for the whole program: to open one takes a good part of a second.
fn context(ordinal: usize) -> Result<Arc<CudaContext>, DriverError> {
    static OPEN: Mutex<Vec<Arc<CudaContext>>> = Mutex::new(Vec::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = open.iter().find(|context| context.ordinal() == ordinal) {
        return Ok(Arc::clone(context));
    }
    let context = CudaContext::new(ordinal)?;
    open.push(Arc::clone(&context));
    Ok(context)
}

/// Memory that was given back stays with this process, so that the next request costs nothing.
fn keep_pool(context: &CudaContext) -> Result<(), DriverError> {
    use sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD as THRESHOLD;
    let mut all = u64::MAX;
    // SAFETY: the context's device is there; the attribute is a 64-bit number.
    unsafe {
        let pool = driver::device::get_default_mem_pool(context.cu_device())?;
        sys::cuMemPoolSetAttribute(pool, THRESHOLD, (&raw mut all).cast()).result()
    }
}

impl Device for Gpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn memory(&self) -> usize {
        // Micro-batches are planned by it, and with them a gradient's bits: cards of one kind differ by some MiB.
        self.memory >> 30 << 30
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        let stream = self.stream.cu_stream();
        let what = format!("{} MiB of its memory", bytes >> 20);
        // SAFETY: the stream is there.
        self.call(&what, || unsafe { driver::malloc_async(stream, bytes) })
    }

    fn free(&mut self, at: Address) {
        let stream = self.stream.cu_stream();
        // SAFETY: the caller got it from `allocate`. What fails is told by the next call.
        let _ = self.call("giving memory back", || unsafe { driver::free_async(at, stream) });
    }

    fn upload(&mut self, bytes: &[u8], to: Address) -> Result<()> {
        let stream = self.stream.cu_stream();
        for (i, bytes) in bytes.chunks(STAGING).enumerate() {
            if self.staging.used + bytes.len() > STAGING {
                self.wait()?;
            }
            let staged = self.staging.stage(bytes);
            let to = to + (i * STAGING) as Address;
            // SAFETY: what is staged stays as it is until the stream was waited for.
            self.call("an upload", || unsafe { driver::memcpy_htod_async(to, staged, stream) })?;
        }
        Ok(())
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        let stream = self.stream.cu_stream();
        // SAFETY: it is waited for at once.
        self.call("a download", || unsafe { driver::memcpy_dtoh_async(bytes, from, stream) })?;
        self.wait()
    }

    fn clear(&mut self, at: Address, bytes: usize) -> Result<()> {
        let stream = self.stream.cu_stream();
        // SAFETY: the caller says that it has these bytes.
        self.call("clearing", || unsafe { driver::memset_d8_async(at, 0, bytes, stream) })
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<()> {
        let function = self.function(launch)?;
        let values: Vec<u64> = launch.arguments.iter().map(|argument| argument.bytes()).collect();
        let mut arguments: Vec<*mut c_void> =
            values.iter().map(|value| std::ptr::from_ref(value).cast_mut().cast()).collect();
        let Launch { grid: [gx, gy, gz], block: [bx, by, bz], shared, .. } = *launch;
        let stream = self.stream.cu_stream();
        self.timed(
            || launch.kernel.to_owned(),
            // SAFETY: the arguments are the kernel's, by its description.
            |gpu| {
                gpu.call(launch.kernel, || unsafe {
                    let (grid, block) = ((gx, gy, gz), (bx, by, bz));
                    driver::launch_kernel(function, grid, block, shared, stream, &mut arguments)
                })
            },
        )
    }

    fn matmul(&mut self, matmul: &Matmul) -> Result<()> {
        let Matmul { a, c, shape: [m, n, k], .. } = *matmul;
        let name = || format!("matmul {m}x{n}x{k} {:?} to {:?}", a.element, c.element);
        self.timed(name, |gpu| {
            gpu.call("binding", || Ok(()))?;
            gpu.blas.matmul(matmul, gpu.stream.cu_stream()).map_err(|error| Error::Device {
                device: gpu.name.clone(),
                what: format!("cuBLASLt: {:?} for {matmul:?}", error.0),
            })
        })
    }

    fn measure(&mut self, on: bool) -> Vec<Time> {
        let times = std::mem::replace(&mut self.times, on.then(HashMap::new)).unwrap_or_default();
        let mut times: Vec<_> =
            times.into_iter().map(|(name, (calls, seconds))| Time { name, calls, seconds }).collect();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        times
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // Whoever drops it wants nothing of it any more, and has given its memory back.
        // The first call may tell of an earlier error instead of doing it.
        let _ = self.context.bind_to_thread().or_else(|_| self.context.bind_to_thread());
        // SAFETY: nothing is computed any more that was asked for before.
        let _ = unsafe { driver::free_async(self.blas.workspace, self.stream.cu_stream()) };
        let _ = self.stream.synchronize();
        for module in self.modules.values() {
            // SAFETY: no function of it is called any more.
            let _ = unsafe { driver::module::unload(*module) };
        }
        // What nobody uses goes back to the system, for other programs.
        // SAFETY: the device is there.
        let _ = unsafe {
            driver::device::get_default_mem_pool(self.context.cu_device())
                .and_then(|pool| sys::cuMemPoolTrimTo(pool, 0).result())
        };
    }
}

/// Memory of the host that does not move, so that the device copies from it while the program goes on.
struct Staging {
    at: *mut u8,
    /// How much of it may not yet have been copied.
    used: usize,
}

impl Staging {
    fn new() -> Result<Self, DriverError> {
        // SAFETY: flags 0.
        let at = unsafe { driver::malloc_host(STAGING, 0) }?;
        Ok(Self { at: at.cast(), used: 0 })
    }

    /// Puts bytes there, for which there is room.
    fn stage(&mut self, bytes: &[u8]) -> &'static [u8] {
        assert!(bytes.len() <= STAGING - self.used);
        // SAFETY: it has STAGING bytes, and those from `used` on are nobody's. The caller drops what it gets before the
        // memory is given back.
        unsafe {
            let at = self.at.add(self.used);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            self.used += bytes.len();
            std::slice::from_raw_parts(at, bytes.len())
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: nothing copies from it any more: the stream was waited for.
        let _ = unsafe { driver::free_host(self.at.cast()) };
    }
}

/// cuBLASLt, with what it found out about products that it has seen.
struct Blas {
    handle: lt::cublasLtHandle_t,
    workspace: Address,
    known: HashMap<Kind, Known>,
}

/// What makes two products alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    shape: [usize; 3],
    a: (Element, bool),
    b: (Element, bool),
    c: Element,
    tf32: bool,
    /// The largest powers of two that the addresses of a, b, c and what is added are multiples of.
    alignment: [u32; 4],
}

/// How such a product is computed.
struct Known {
    product: lt::cublasLtMatmulDesc_t,
    /// Of b, a and c, as columns.
    layouts: [lt::cublasLtMatrixLayout_t; 3],
    algorithm: lt::cublasLtMatmulAlgo_t,
}

impl Blas {
    fn new(name: &str, stream: &CudaStream) -> Result<Self> {
        let error = |what: String| Error::Device { device: name.to_owned(), what };
        let handle = blas::create_handle().map_err(|e| error(format!("cuBLASLt: {:?}", e.0)))?;
        // SAFETY: the stream is there.
        let workspace = unsafe { driver::malloc_async(stream.cu_stream(), BLAS_WORKSPACE) }
            .map_err(|e| failed(name, "memory for cuBLASLt", e))?;
        Ok(Self { handle, workspace, known: HashMap::new() })
    }

    fn matmul(&mut self, matmul: &Matmul, stream: sys::CUstream) -> Result<(), blas::CublasError> {
        let Matmul { a, b, c, plus, shape, tf32 } = *matmul;
        let added = plus.unwrap_or(c.at);
        let alignment = [a.at, b.at, c.at, added].map(|at| 1 << at.trailing_zeros().min(8));
        let kind = Kind {
            shape,
            a: (a.element, a.transposed),
            b: (b.element, b.transposed),
            c: c.element,
            tf32,
            alignment,
        };
        let known = match self.known.entry(kind) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Known::find(self.handle, &kind)?)
            }
        };
        let (one, beta): (f32, f32) = (1.0, if plus.is_some() { 1.0 } else { 0.0 });
        let [b_layout, a_layout, c_layout] = known.layouts;
        // cuBLASLt counts along columns: what it takes for cᵀ = bᵀ aᵀ is our c = a b.
        // SAFETY: the layouts are those of the matrices, and the caller has them.
        unsafe {
            blas::matmul(
                self.handle,
                known.product,
                (&raw const one).cast(),
                (&raw const beta).cast(),
                b.at as *const c_void,
                b_layout,
                a.at as *const c_void,
                a_layout,
                added as *const c_void,
                c_layout,
                c.at as *mut c_void,
                c_layout,
                &raw const known.algorithm,
                self.workspace as *mut c_void,
                BLAS_WORKSPACE,
                stream.cast(),
            )
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        for Known { product, layouts, .. } in self.known.values() {
            // SAFETY: they were created, and nobody uses them any more.
            unsafe {
                let _ = blas::destroy_matmul_desc(*product);
                for layout in layouts {
                    let _ = blas::destroy_matrix_layout(*layout);
                }
            }
        }
        // SAFETY: the same.
        let _ = unsafe { blas::destroy_handle(self.handle) };
    }
}

impl Known {
    /// Describes the product to cuBLASLt, and takes the algorithm that it thinks the fastest.
    fn find(handle: lt::cublasLtHandle_t, kind: &Kind) -> Result<Self, blas::CublasError> {
        use lt::cublasLtMatmulDescAttributes_t::{
            CUBLASLT_MATMUL_DESC_TRANSA as TRANSPOSE_A, CUBLASLT_MATMUL_DESC_TRANSB as TRANSPOSE_B,
        };
        use lt::cublasLtMatmulPreferenceAttributes_t::{
            CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES as WORKSPACE,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES as ALIGNMENT_A,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES as ALIGNMENT_B,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES as ALIGNMENT_C,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES as ALIGNMENT_D,
            CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK as REDUCTION,
        };
        let compute = match kind.tf32 {
            true => lt::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => lt::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let [m, n, k] = kind.shape;
        let product = blas::create_matmul_desc(compute, lt::cudaDataType::CUDA_R_32F)?;
        // Rows of ours are columns of cuBLASLt's.
        let layout = |element: Element, rows: usize, columns: usize| {
            let element = match element {
                Element::F32 => lt::cudaDataType::CUDA_R_32F,
                Element::Bf16 => lt::cudaDataType::CUDA_R_16BF,
            };
            blas::create_matrix_layout(element, columns as u64, rows as u64, columns as i64)
        };
        let of = |(element, transposed): (Element, bool), rows, columns| match transposed {
            false => layout(element, rows, columns),
            true => layout(element, columns, rows),
        };
        let layouts = [of(kind.b, k, n)?, of(kind.a, m, k)?, layout(kind.c, m, n)?];
        let preference = blas::create_matmul_pref()?;
        // SAFETY: all were just created; attributes have the types that NVIDIA's reference names.
        let chosen = unsafe {
            for (attribute, transposed) in [(TRANSPOSE_A, kind.b.1), (TRANSPOSE_B, kind.a.1)] {
                let operation = i32::from(transposed);
                let at = (&raw const operation).cast();
                blas::set_matmul_desc_attribute(product, attribute, at, size_of_val(&operation))?;
            }
            let most = BLAS_WORKSPACE;
            blas::set_matmul_pref_attribute(
                preference,
                WORKSPACE,
                (&raw const most).cast(),
                size_of_val(&most),
            )?;
            // A sum that is computed in parts is added up in f32, not in the result's bf16.
            let schemes = lt::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
            let at = (&raw const schemes).cast();
            blas::set_matmul_pref_attribute(preference, REDUCTION, at, size_of_val(&schemes))?;
            let [a, b, c, added] = kind.alignment;
            for (attribute, bytes) in
                [(ALIGNMENT_A, b), (ALIGNMENT_B, a), (ALIGNMENT_C, added), (ALIGNMENT_D, c)]
            {
                let at = (&raw const bytes).cast();
                blas::set_matmul_pref_attribute(preference, attribute, at, size_of_val(&bytes))?;
            }
            let [b, a, c] = layouts;
            let chosen = blas::get_matmul_algo_heuristic(handle, product, b, a, c, c, preference);
            let _ = blas::destroy_matmul_pref(preference);
            chosen?
        };
        Ok(Self { product, layouts, algorithm: chosen.algo })
    }
}
