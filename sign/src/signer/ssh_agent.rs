//! Signing by ssh-agent, over its socket: the private key, or the security key, stays there.
//!
//! Two messages of the agent protocol are spoken, "which keys" and "sign this with that one", each bounded. The
//! agent is not trusted: its signature is checked like any other. Nothing is ever added to or removed from it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use felhom_shared::signed::{PublicKey, ToBeSigned};
use ssh_key::Signature;

use super::{Signer, SignerError, armor};

/// Long enough for a person to find the security key and touch it.
const PATIENCE: Duration = Duration::from_secs(120);
/// What OpenSSH's agent takes and gives at most.
const MESSAGE_BYTES_MAX: u32 = 256 * 1024;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Why the agent gave no signature.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum AgentError {
    #[error("no agent runs here: SSH_AUTH_SOCK is not set; start one with `eval $(ssh-agent)`")]
    Absent,
    #[error("the agent at {path} does not answer")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the agent's answer cannot be understood")]
    Malformed,
    #[error("the agent does not hold {0}; add it with `ssh-add`")]
    KeyAbsent(String),
    #[error("the agent refuses: it is locked, the request was declined, or the security key was not touched")]
    Refused,
}

/// A key that the agent holds.
pub struct AgentKey {
    agent: Agent,
    public: PublicKey,
}

impl AgentKey {
    /// The key with this fingerprint.
    pub fn with_fingerprint(fingerprint: &str) -> Result<Self, AgentError> {
        Self::find(|key| key.fingerprint() == fingerprint, || fingerprint.to_owned())
    }

    /// The private half of this public key.
    pub fn with_public(public: PublicKey) -> Result<Self, AgentError> {
        let fingerprint = public.fingerprint();
        Self::find(move |key| *key == public, || fingerprint)
    }

    fn find(is_it: impl Fn(&PublicKey) -> bool, name: impl FnOnce() -> String) -> Result<Self, AgentError> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let agent = Agent { socket: PathBuf::from(socket.ok_or(AgentError::Absent)?) };
        let public = agent.keys()?.into_iter().find(is_it).ok_or_else(|| AgentError::KeyAbsent(name()))?;
        Ok(Self { agent, public })
    }
}

impl Signer for AgentKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &ToBeSigned) -> Result<String, SignerError> {
        let signature = self.agent.sign(&self.public, message.as_bytes())?;
        armor(&self.public, message.namespace(), signature)
    }
}

struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// The keys that may sign; an agent may hold others, which are passed over.
    fn keys(&self) -> Result<Vec<PublicKey>, AgentError> {
        let answer = self.call(&[REQUEST_IDENTITIES])?;
        let mut fields = Fields::of(&answer, IDENTITIES_ANSWER)?;
        let count = fields.number()?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let blob = fields.text()?;
            let _comment = fields.text()?;
            let line = ssh_key::PublicKey::from_bytes(blob).and_then(|key| key.to_openssh());
            keys.extend(line.ok().and_then(|line| line.parse::<PublicKey>().ok()));
        }
        Ok(keys)
    }

    fn sign(&self, public: &PublicKey, data: &[u8]) -> Result<Signature, AgentError> {
        let blob = ssh_key::PublicKey::new(public.data().clone(), "")
            .to_bytes()
            .map_err(|_| AgentError::Malformed)?;
        let mut request = vec![SIGN_REQUEST];
        push_text(&mut request, &blob);
        push_text(&mut request, data);
        request.extend_from_slice(&0u32.to_be_bytes());
        let answer = self.call(&request)?;
        let signature = Fields::of(&answer, SIGN_RESPONSE)?.text()?;
        Signature::try_from(signature).map_err(|_| AgentError::Malformed)
    }

    fn call(&self, request: &[u8]) -> Result<Vec<u8>, AgentError> {
        exchange(&self.socket, request).map_err(|source| AgentError::Io { path: self.socket.clone(), source })
    }
}

fn exchange(socket: &Path, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = Vec::with_capacity(request.len() + 4);
    push_text(&mut message, request);
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(std::io::Error::other("its answer is far too long"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// SSH's string: a length and that many bytes. A message on the socket has the same shape.
fn push_text(message: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("what is sent is bounded by the payload's limit");
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(bytes);
}

/// What is left of an answer.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn of(answer: &'a [u8], kind: u8) -> Result<Self, AgentError> {
        match answer.split_first() {
            Some((first, rest)) if *first == kind => Ok(Self(rest)),
            Some(_) => Err(AgentError::Refused),
            None => Err(AgentError::Malformed),
        }
    }

    fn number(&mut self) -> Result<u32, AgentError> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(AgentError::Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn text(&mut self) -> Result<&'a [u8], AgentError> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(AgentError::Malformed)?;
        self.0 = rest;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_promises_more_than_it_holds_is_malformed() {
        let mut answer = vec![IDENTITIES_ANSWER];
        answer.extend_from_slice(&1u32.to_be_bytes());
        answer.extend_from_slice(&u32::MAX.to_be_bytes());
        let mut fields = Fields::of(&answer, IDENTITIES_ANSWER).unwrap();
        assert_eq!(fields.number().unwrap(), 1);
        assert!(matches!(fields.text(), Err(AgentError::Malformed)));
        assert!(matches!(Fields::of(&[5], SIGN_RESPONSE), Err(AgentError::Refused)));
        assert!(matches!(Fields::of(&[], SIGN_RESPONSE), Err(AgentError::Malformed)));
    }
}
