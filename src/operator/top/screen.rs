//! Takes over the terminal while `top` runs, and restores it however `top` ends.

use std::io::{self, IsTerminal, Read, Write, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::low_level::pipe;

/// The other screen, without a cursor and without lines that run on; and back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// The bytes that Ctrl-C and Ctrl-D produce.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;

/// The terminal, while it is taken over.
pub struct Screen {
    /// How the keyboard was before, if keys are typed on a terminal.
    before: Option<Termios>,
    /// Readable when the picture is to be redrawn.
    anew: UnixStream,
    bell: Arc<UnixStream>,
    /// Signals that end the program, each with the exit code it means.
    ends: Vec<(UnixStream, u8)>,
}

/// Why a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Woken {
    /// There is something new to draw.
    Anew,
    /// `q` or Ctrl-C.
    Quit,
    /// A signal; the exit code that it means.
    Signal(u8),
}

/// Wakes the screen from another thread.
pub struct Bell(Arc<UnixStream>);

impl Bell {
    /// There is something new to draw.
    pub fn ring(&self) {
        // A full pipe means that it will be drawn anyway.
        let _ = (&*self.0).write(b"!");
    }
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If the system gives no sockets, or the terminal cannot be set.
    pub fn open() -> io::Result<Self> {
        let (anew, bell) = UnixStream::pair()?;
        anew.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        pipe::register(SIGWINCH, bell.try_clone()?)?;
        let mut ends = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            let (end, sender) = UnixStream::pair()?;
            pipe::register(signal, sender)?;
            ends.push((end, u8::try_from(128 + signal).unwrap_or(u8::MAX)));
        }
        let mut screen = Self { before: None, anew, bell: Arc::new(bell), ends };
        if stdin().is_terminal() {
            let before = tcgetattr(stdin())?;
            let mut keys = before.clone();
            // Keys come one by one, unseen; Ctrl-Z does not leave the terminal like this.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            screen.before = Some(before);
            tcsetattr(stdin(), OptionalActions::Now, &keys)?;
        }
        screen.write(OPEN);
        Ok(screen)
    }

    /// A handle with which another thread wakes the screen.
    pub fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.bell))
    }

    /// Columns and lines; those of a classic terminal if it does not say.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    /// Shows lines from the top left: over the old ones, and away with what is left of those, so
    /// that nothing flickers.
    pub fn draw(&mut self, picture: &str) {
        let lines: Vec<String> = picture.lines().map(|line| format!("{line}\x1b[K")).collect();
        self.write(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")));
    }

    /// Waits for a key, a signal, another size or the bell.
    pub fn wait(&mut self) -> Woken {
        loop {
            let (keys, typed) = (stdin(), self.before.is_some());
            let mut fds = vec![PollFd::new(&self.anew, PollFlags::IN)];
            fds.extend(self.ends.iter().map(|(end, _)| PollFd::new(end, PollFlags::IN)));
            if typed {
                fds.push(PollFd::new(&keys, PollFlags::IN));
            }
            if poll(&mut fds, None).is_err() {
                // A signal came in between: the next look finds its byte.
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let signal = self.ends.iter().zip(&ready[1..]).find(|(_, ready)| **ready);
            if let Some(((_, code), _)) = signal {
                return Woken::Signal(*code);
            }
            if typed && ready[ready.len() - 1] && self.is_quit() {
                return Woken::Quit;
            }
            if ready[0] {
                let mut rung = [0; 64];
                while self.anew.read(&mut rung).is_ok_and(|count| count > 0) {}
                return Woken::Anew;
            }
        }
    }

    /// True if the input ends the program. A terminal that is gone ends it too.
    fn is_quit(&self) -> bool {
        let mut typed = [0; 64];
        match rustix::io::read(stdin(), &mut typed) {
            Ok(0) | Err(rustix::io::Errno::IO) => true,
            Ok(count) => {
                typed[..count].iter().any(|key| matches!(*key, b'q' | b'Q' | CTRL_C | CTRL_D))
            }
            Err(_) => false,
        }
    }

    fn write(&self, text: &str) {
        let mut out = stdout().lock();
        // A terminal that is gone is noticed at the next wait.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.write(CLOSE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
