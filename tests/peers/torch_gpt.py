"""The network as a PyTorch user would write it for speed: fused attention (scaled_dot_product_attention), functional RMS
norm. It has no biases and an output matrix of its own, as the library's; with its parameters it computes the same."""

import torch
import torch.nn.functional as F


class Gpt(torch.nn.Module):
    def __init__(self, layers, width, heads, tokens, colours):
        super().__init__()
        self.layers, self.heads, self.tokens = layers, heads, tokens
        parameter = lambda *shape: torch.nn.Parameter(torch.empty(shape))
        # The library's layout, in its order.
        self.wte, self.sos, self.wpe = parameter(colours, width), parameter(width), parameter(tokens, width)
        self.blocks = torch.nn.ParameterList()
        for _ in range(layers):
            self.blocks.extend([
                parameter(width), parameter(width, 3 * width), parameter(width, width),
                parameter(width), parameter(width, 4 * width), parameter(4 * width, width)])
        self.ln_f, self.head = parameter(width), parameter(colours, width)

    def all(self):
        return [self.wte, self.sos, self.wpe, *self.blocks, self.ln_f, self.head]

    def load(self, flat):
        at = 0
        with torch.no_grad():
            for p in self.all():
                p.copy_(torch.from_numpy(flat[at:at + p.numel()]).view_as(p))
                at += p.numel()
        assert at == len(flat)

    def block(self, l, x, cache=None, at=0):
        g_1, qkv, proj, g_2, fc, out = (self.blocks[6 * l + i] for i in range(6))
        b, t, c = x.shape
        n = F.rms_norm(x, (c,), g_1, 1e-5)
        q, k, v = (n @ qkv).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if cache is None:
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            keys, values = cache[l]
            keys[:, :, at:at + t], values[:, :, at:at + t] = k, v
            # Several tokens come at once only at the beginning.
            o = F.scaled_dot_product_attention(q, keys[:, :, :at + t], values[:, :, :at + t], is_causal=t > 1)
        x = x + o.transpose(1, 2).reshape(b, t, c) @ proj
        f = F.rms_norm(x, (c,), g_2, 1e-5) @ fc
        return n, x + (f * torch.sigmoid(1.702 * f)) @ out

    def embed(self, tokens):
        before = F.embedding(tokens[:, :-1], self.wte)
        return torch.cat([self.sos.expand(len(tokens), 1, -1), before], 1) + self.wpe

    def last(self, x):
        return F.rms_norm(x, x.shape[-1:], self.ln_f, 1e-5)

    def loss(self, tokens):
        x = self.embed(tokens)
        for l in range(self.layers):
            _, x = self.block(l, x)
        logits = self.last(x) @ self.head.T
        return F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())

    def features(self, tokens):
        x, found = self.embed(tokens), []
        for l in range(self.layers):
            n, x = self.block(l, x)
            found.append(n.mean(1))
        return torch.stack([*found, self.last(x).mean(1)], 1)

    def sample(self, given, dtype):
        """Goes on with images of which these tokens are given, with keys and values kept in memory made beforehand."""
        (count, at), width = given.shape, self.sos.numel()
        shape = (count, self.heads, self.tokens, width // self.heads)
        empty = lambda: torch.empty(shape, device=self.sos.device, dtype=dtype)
        cache = [(empty(), empty()) for _ in range(self.layers)]
        before = F.embedding(given, self.wte)
        x = torch.cat([self.sos.expand(count, 1, width), before], 1) + self.wpe[:at + 1]
        drawn, start = [given], 0
        while True:
            for l in range(self.layers):
                _, x = self.block(l, x, cache, start)
            logits = (self.last(x[:, -1]) @ self.head.T).float()
            drawn.append(torch.multinomial(torch.softmax(logits, -1), 1))
            start = at = at + 1
            if at == self.tokens:
                return torch.cat(drawn, 1)
            x = F.embedding(drawn[-1], self.wte) + self.wpe[at]
